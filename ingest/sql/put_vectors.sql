-- Write the vectors of chunks into the table of an index version. In: {vectors}, tenant, chunk_ids, reader_set_ids,
-- embeddings (halfvec[]).
insert into {vectors} (tenant_id, chunk_id, reader_set_id, embedding)
select %(tenant)s, v.chunk_id, v.reader_set_id, v.embedding
from unnest(%(chunk_ids)s::bigint[], %(reader_set_ids)s::integer[], %(embeddings)s::halfvec[])
    as v (chunk_id, reader_set_id, embedding)
