-- Write the sentences of chunks and their vectors. In: {sentences}, tenant, one array a column; embeddings (halfvec[],
-- NULLs where none are kept); words (text[]: the terms' numbers, between spaces).
insert into {sentences} (tenant_id, chunk_id, ordinal, reader_set_id, start_char, end_char, embedding, words)
select %(tenant)s, s.chunk_id, s.ordinal, s.reader_set_id, s.start_char, s.end_char, s.embedding,
    string_to_array(s.words, ' ')::integer[]
from unnest(
    %(chunk_ids)s::bigint[], %(ordinals)s::integer[], %(reader_set_ids)s::integer[], %(starts)s::integer[],
    %(ends)s::integer[], %(embeddings)s::halfvec[], %(words)s::text[]
) as s (chunk_id, ordinal, reader_set_id, start_char, end_char, embedding, words)
