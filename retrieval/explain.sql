-- name: matched_terms
-- List what BM25 counted in some chunks. In: tenant, terms, chunks. Out: chunk_id, term, its
-- frequency in the chunk, and the chunk's length in terms.
select chunk_id, term, frequency::float8, length::float8
from posting
where
    tenant_id = %(tenant)s
    and term = any (%(terms)s::text[])
    and chunk_id = any (%(chunks)s::bigint[])
