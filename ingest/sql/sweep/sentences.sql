-- In: {sentences}, tenant. Out: how many sentences have no chunk.
select count(*) from {sentences} v
where v.tenant_id = %(tenant)s and not exists (
    select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
)
