-- In: {sentences}, tenant. Out: how many sentences without a chunk were deleted.
with gone as (
    delete from {sentences} v
    where v.tenant_id = %(tenant)s and not exists (
        select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
    )
    returning 1
)
select count(*) from gone
