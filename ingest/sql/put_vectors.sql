-- Write the vectors of a document's chunks into the table of an index version. In: {vectors}, tenant, reader_set_id,
-- chunk_ids, embeddings (halfvec[]).
insert into {vectors} (tenant_id, chunk_id, reader_set_id, embedding)
select %(tenant)s, v.chunk_id, %(reader_set_id)s, v.embedding
from unnest(%(chunk_ids)s::bigint[], %(embeddings)s::halfvec[]) as v (chunk_id, embedding)
