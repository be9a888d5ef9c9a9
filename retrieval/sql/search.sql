-- A question against what the reader may see: BM25 and vectors, fused, best first.
--
-- In:  {vectors}, {sentences}   the tables of the live index version
--      tenant                   the same as the transaction's; written out so that plans see one tenant
--      terms, weights           the question's terms and how often each is asked for (empty: no lexical leg)
--      vector                   the question's vector (NULL: no dense leg)
--      lexical_depth, dense_depth   candidates taken from each leg; 0 switches a leg off
--      passes                   in braces: what a filter lets pass of chunk p; see retrieval/passing.py
--      dense_weight, sentence_share, k1, b, limit   see retrieval/retriever.py
-- Out: a row for each hit: the chunk, its document, its sentences with their cosine to the question, the score that
--      ranks it, and each leg's score and rank.
with corpus as (
    select sum(chunk_count)::float8 as chunks, sum(term_count)::float8 / nullif(sum(chunk_count), 0) as mean_length
    from reader_set
    where tenant_id = %(tenant)s
),
matched as materialized (
    select term, chunk_id, frequency::float8, length::float8
    from posting
    where tenant_id = %(tenant)s and term = any (%(terms)s::text[])
),
rarity as (  -- idf as in Lucene's BM25: never negative
    select a.term, a.weight * ln(1 + (c.chunks - m.chunks + 0.5) / (m.chunks + 0.5)) as idf
    from unnest(%(terms)s::text[], %(weights)s::float8[]) as a (term, weight)
    join (select term, count(*) as chunks from matched group by term) m using (term)
    cross join corpus c
),
bm25 as materialized (
    select
        m.chunk_id,
        sum(r.idf * m.frequency / (m.frequency + %(k1)s * (1 - %(b)s + %(b)s * m.length / c.mean_length))) as score
    from matched m
    join rarity r using (term)
    cross join corpus c
    group by m.chunk_id
),
lexical as (
    select chunk_id, row_number() over (order by score desc, chunk_id) as rank
    from (select chunk_id, score from bm25 order by score desc, chunk_id offset 0) p  -- the filter sees the best first
    where {passes}
    order by score desc, chunk_id
    limit %(lexical_depth)s
),
nearest as (
    select chunk_id, embedding <=> %(vector)s::halfvec as distance
    from {vectors} p
    where tenant_id = %(tenant)s and {passes}
    order by embedding <=> %(vector)s::halfvec
    limit %(dense_depth)s
),
dense as (
    select chunk_id, row_number() over (order by distance, chunk_id) as rank from nearest
),
candidate as (
    select chunk_id from lexical union select chunk_id from dense
),
signal as materialized (  -- every candidate gets every score, whichever leg found it
    select
        k.chunk_id,
        coalesce(l.score, 0) as lexical,
        1 - (v.embedding <=> %(vector)s::halfvec) as passage,
        (
            select 1 - min(s.embedding <=> %(vector)s::halfvec)
            from {sentences} s
            where s.tenant_id = %(tenant)s and s.chunk_id = k.chunk_id
        ) as sentence
    from candidate k
    join {vectors} v on v.tenant_id = %(tenant)s and v.chunk_id = k.chunk_id
    left join bm25 l on l.chunk_id = k.chunk_id
),
mixed as (
    select
        *,
        (1 - %(sentence_share)s) * passage + %(sentence_share)s * coalesce(sentence, passage) as dense
    from signal
),
fused as (  -- convex combination of the two, each stretched to 0..1 over the candidates
    select
        *,
        rank() over (order by sentence desc nulls last) as sentence_rank,
        %(dense_weight)s * coalesce((dense - min(dense) over ()) / nullif(max(dense) over () - min(dense) over (), 0), 0)
        + (1 - %(dense_weight)s)
        * coalesce((lexical - min(lexical) over ()) / nullif(max(lexical) over () - min(lexical) over (), 0), 0) as score
    from mixed
),
best as (
    select * from fused order by score desc, dense desc, chunk_id limit %(limit)s
)
select
    row_number() over (order by f.score desc, f.dense desc, f.chunk_id) as rank,
    f.chunk_id, c.document_id, c.ordinal, d.title, d.path, d.uri, d.version, d.media_type, d.metadata, c.location, c.context,
    c.start_char, c.end_char, c.text,
    (
        select array_agg(array[s.start_char, s.end_char] order by s.ordinal)
        from {sentences} s
        where s.tenant_id = %(tenant)s and s.chunk_id = f.chunk_id
    ) as sentence_spans,
    (
        select array_agg(1 - (s.embedding <=> %(vector)s::halfvec) order by s.ordinal)
        from {sentences} s
        where s.tenant_id = %(tenant)s and s.chunk_id = f.chunk_id
    ) as sentence_cosines,
    f.score, f.lexical as lexical_score, l.rank as lexical_rank, f.passage as dense_score, n.rank as dense_rank,
    f.sentence as sentence_score, f.sentence_rank
from best f
join chunk c on c.tenant_id = %(tenant)s and c.chunk_id = f.chunk_id
join document d on d.tenant_id = %(tenant)s and d.document_id = c.document_id
left join lexical l on l.chunk_id = f.chunk_id
left join dense n on n.chunk_id = f.chunk_id
order by rank
