-- Chunks that a search can't find as it should. In: {vectors}. Out: how many lack their vector or one of their postings.
select count(*)
from chunk c
left join {vectors} v using (tenant_id, chunk_id)
where c.tenant_id = current_tenant()
and (v.chunk_id is null or cardinality(c.terms) <> (
    select count(*) from posting p where p.tenant_id = c.tenant_id and p.chunk_id = c.chunk_id
))
