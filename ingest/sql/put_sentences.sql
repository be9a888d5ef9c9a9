-- Write the sentences of a document's chunks and their vectors. In: {sentences}, tenant, reader_set_id, the columns.
insert into {sentences} (tenant_id, chunk_id, ordinal, reader_set_id, start_char, end_char, embedding)
select %(tenant)s, s.chunk_id, s.ordinal, %(reader_set_id)s, s.start_char, s.end_char, s.embedding
from unnest(
    %(chunk_ids)s::bigint[], %(ordinals)s::integer[], %(starts)s::integer[], %(ends)s::integer[],
    %(embeddings)s::halfvec[]
) as s (chunk_id, ordinal, start_char, end_char, embedding)
