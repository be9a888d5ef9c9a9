-- Write chunks' postings, in the order of their index. In: tenant, and for each chunk chunk_ids, reader_set_ids, lengths,
-- terms and frequencies (both separated by spaces).
insert into posting (tenant_id, term, chunk_id, reader_set_id, frequency, length)
select %(tenant)s, p.term, c.chunk_id, c.reader_set_id, p.frequency, c.length
from unnest(
    %(chunk_ids)s::bigint[], %(reader_set_ids)s::integer[], %(lengths)s::real[], %(terms)s::text[],
    %(frequencies)s::text[]
) as c (chunk_id, reader_set_id, length, terms, frequencies)
cross join lateral unnest(
    string_to_array(c.terms, ' '), string_to_array(c.frequencies, ' ')::real[]
) as p (term, frequency)
order by p.term collate "C", c.chunk_id
