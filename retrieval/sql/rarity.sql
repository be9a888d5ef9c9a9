-- How rare the question's terms are in what the reader may see. In: tenant, terms. Out: term, chunks, idf; a term
-- that stands nowhere has chunks 0 and the highest idf.
with corpus as (
    select coalesce(sum(chunk_count), 0)::float8 as chunks from reader_set where tenant_id = %(tenant)s
),
matched as (
    select term, count(*) as chunks
    from posting
    where tenant_id = %(tenant)s and term = any (%(terms)s::text[])
    group by term
)
select a.term, coalesce(m.chunks, 0) as chunks,
    ln(1 + (c.chunks - coalesce(m.chunks, 0) + 0.5) / (coalesce(m.chunks, 0) + 0.5)) as idf
from unnest(%(terms)s::text[]) as a (term)
cross join corpus c
left join matched m using (term)
