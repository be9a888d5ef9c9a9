-- The dense leg by the vector index. Stands within search.sql.
select chunk_id, embedding <=> %(vector)s::halfvec as distance
from {vectors} p
where tenant_id = %(tenant)s and {passes}
order by embedding <=> %(vector)s::halfvec
limit %(dense_depth)s
