-- What BM25 counted in some chunks, term by term. In: tenant, terms, chunks. Out: chunk_id, term, its frequency there, and
-- the chunk's length as a multiple of the mean over what the reader may see.
select p.chunk_id, p.term, p.frequency::float8, p.length::float8 / c.mean_length as length
from posting p
cross join (
    select sum(term_count)::float8 / nullif(sum(chunk_count), 0)::float8 as mean_length
    from reader_set
    where tenant_id = %(tenant)s
) c
where p.tenant_id = %(tenant)s and p.term = any (%(terms)s::text[]) and p.chunk_id = any (%(chunks)s::bigint[])
