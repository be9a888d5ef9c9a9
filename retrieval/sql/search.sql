-- A question against what the reader may see: BM25 and vectors, fused, best first.
--
-- In:  {vectors}, {sentences}   the tables of the live index version
--      tenant                   the same as the transaction's; written out so that plans see one tenant
--      terms, weights           the question's terms and how often each is asked for
--      vector                   the question's vector (NULL: no dense leg)
--      lexical_depth, dense_depth   candidates taken from each leg; 0 switches a leg off
--      passes                   in braces: what a filter lets pass of chunk p; see retrieval/passing.py
--      dense_weight, sentence_share, k1, b, limit   see retrieval/retriever.py
-- Out: a row for each hit: the chunk, its document, its sentences with their cosine to the question, the score that
--      ranks it, and each leg's score and rank. In every row: how much the reader may see (documents, chunks) and how
--      rare each term is in it (idf). Without a hit there is one row, whose chunk_id is NULL.
with corpus as (
    select
        coalesce(sum(document_count), 0) as documents,
        coalesce(sum(chunk_count), 0)::float8 as chunks,
        sum(term_count)::float8 / nullif(sum(chunk_count), 0)::float8 as mean_length
    from reader_set
    where tenant_id = %(tenant)s
),
matched as materialized (
    select term, chunk_id, frequency::float8, length::float8
    from posting
    where tenant_id = %(tenant)s and term = any (%(terms)s::text[])
),
rarity as materialized (  -- idf as in Lucene's BM25: never negative
    select a.term, a.weight, ln(1 + (c.chunks - coalesce(m.chunks, 0) + 0.5) / (coalesce(m.chunks, 0) + 0.5)) as idf
    from unnest(%(terms)s::text[], %(weights)s::float8[]) as a (term, weight)
    cross join corpus c
    left join (select term, count(*)::float8 as chunks from matched group by term) m using (term)
),
asked as materialized (  -- `most` is what BM25 can't exceed, whatever a chunk says
    select sum(weight * idf) as most, coalesce(jsonb_object_agg(term, idf), jsonb_build_object()) as idf from rarity
),
bm25 as materialized (
    select
        m.chunk_id,
        sum(
            r.weight * r.idf * m.frequency
            / (m.frequency + %(k1)s * (1 - %(b)s + %(b)s * m.length / (select mean_length from corpus)))
        ) as score
    from matched m
    join rarity r using (term)
    group by m.chunk_id
),
lexical as (
    select chunk_id, row_number() over (order by score desc, chunk_id) as rank
    from (select chunk_id, score from bm25 order by score desc, chunk_id offset 0) p
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
candidate as (  -- found by either leg, with BM25's score in any case; not joined, since plans underrate bm25's size
    select chunk_id, sum(score) as lexical, min(lexical_rank) as lexical_rank, min(dense_rank) as dense_rank
    from (
        select chunk_id, score, null::bigint as lexical_rank, null::bigint as dense_rank from bm25
        union all select chunk_id, 0, rank, null from lexical
        union all select chunk_id, 0, null, rank from dense
    ) found
    group by chunk_id
    having count(lexical_rank) + count(dense_rank) > 0
),
signal as materialized (
    select
        k.*,
        1 - (v.embedding <=> %(vector)s::halfvec) as passage,
        (
            select 1 - min(s.embedding <=> %(vector)s::halfvec)
            from {sentences} s
            where s.tenant_id = %(tenant)s and s.chunk_id = k.chunk_id
        ) as sentence
    from candidate k
    join {vectors} v on v.tenant_id = %(tenant)s and v.chunk_id = k.chunk_id
),
mixed as (
    select
        *,
        (1 - %(sentence_share)s) * passage + %(sentence_share)s * coalesce(sentence, passage) as dense,
        rank() over (order by sentence desc nulls last) as sentence_rank
    from signal
),
best as (
    select
        m.*,
        %(dense_weight)s * coalesce(dense, 0) + (1 - %(dense_weight)s) * coalesce(lexical / most, 0) as score
    from mixed m cross join asked
    order by score desc, dense desc, chunk_id
    limit %(limit)s
)
select
    row_number() over (order by f.score desc, f.dense desc, f.chunk_id) as rank,
    f.chunk_id, c.document_id, c.ordinal, d.title, d.path, d.uri, d.version, d.media_type, d.metadata, c.location, c.context,
    c.start_char, c.end_char, c.text, s.spans as sentence_spans, s.cosines as sentence_cosines,
    f.score, f.lexical as lexical_score, f.lexical_rank, f.passage as dense_score, f.dense_rank,
    f.sentence as sentence_score, f.sentence_rank, corpus.documents, corpus.chunks, asked.idf
from corpus
cross join asked
left join (
    best f
    join chunk c on c.tenant_id = %(tenant)s and c.chunk_id = f.chunk_id
    join document d on d.tenant_id = %(tenant)s and d.document_id = c.document_id
    cross join lateral (
        select array_agg(array[s.start_char, s.end_char] order by s.ordinal) as spans,
        array_agg(1 - (s.embedding <=> %(vector)s::halfvec) order by s.ordinal) as cosines
        from {sentences} s
        where s.tenant_id = %(tenant)s and s.chunk_id = f.chunk_id
    ) s
) on true
order by rank
