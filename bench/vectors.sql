-- The vector of every document of one chunk that the reader may see. In: {vectors}. Out: path, embedding.
select d.path, v.embedding
from {vectors} v
join chunk c using (tenant_id, chunk_id)
join document d using (tenant_id, document_id)
