-- Write the postings of a document's chunks, one array a column. In: tenant, reader_set_id, the columns.
insert into posting (tenant_id, term, chunk_id, reader_set_id, frequency, length)
select %(tenant)s, p.term, p.chunk_id, %(reader_set_id)s, p.frequency, p.length
from unnest(
    %(terms)s::text[], %(chunk_ids)s::bigint[], %(frequencies)s::real[], %(lengths)s::real[]
) as p (term, chunk_id, frequency, length)
