-- The dense leg by comparing every vector: for a tenant or a filter that leaves few. Stands within search.sql.
-- OFFSET 0 keeps the order outside, so that the vector index can't be what brings it.
select chunk_id, distance
from (
    select chunk_id, embedding <=> %(vector)s::halfvec as distance
    from {vectors} p
    where tenant_id = %(tenant)s and {passes}
    offset 0
) p
order by distance
limit %(dense_depth)s
