-- Vector of every readable document with one chunk. In: {vectors}. Out: path, embedding.
select d.path, v.embedding
from {vectors} v
join chunk c using (tenant_id, chunk_id)
join document d using (tenant_id, document_id)
