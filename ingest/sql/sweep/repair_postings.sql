-- In: tenant. Out: how many postings without a chunk were deleted.
with gone as (
    delete from posting p
    where p.tenant_id = %(tenant)s and not exists (
        select from chunk c where c.tenant_id = p.tenant_id and c.chunk_id = p.chunk_id
    )
    returning 1
)
select count(*) from gone
