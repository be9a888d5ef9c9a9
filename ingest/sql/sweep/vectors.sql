-- In: {vectors}, tenant. Out: how many passage vectors have no chunk.
select count(*) from {vectors} v
where v.tenant_id = %(tenant)s and not exists (
    select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
)
