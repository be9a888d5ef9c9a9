-- name: search
-- Search what the reader may see with BM25 and vectors together; return the best hits first.
--
-- Placeholders in braces:
--      vectors, sentences          tables of the live index version
--      nearest                     the dense search: block nearest_exact or nearest_index
--      chunk_condition             the filter on chunk p (retrieval/filter_plan.py)
--      document_condition          the filter on document d
-- In:  tenant                      the transaction's tenant, so that plans see one tenant
--      terms, term_numbers         the question's terms, and their numbers as sentences store them
--      term_counts                 how often the question has each term
--      vector                      the question's vector (NULL: no dense search)
--      chunk_count                 number of chunks that the reader may see
--      bm25_base, bm25_slope       BM25's k1 (1 - b), and k1 b divided by the mean length
--      lexical_depth, dense_depth  candidates of each search; 0 switches it off
--      max_postings                postings to read for candidates; at least those of one term
--      collapse, named_editions    whether near-duplicates share a hit; the named editions
--      edition_margin              a preferred edition may score lower by this share
--      bm25_weight, coverage_weight, passage_weight, sentence_weight, limit
--                                  see retrieval/search_statement.py
-- Out: a row for each hit: the chunk, its document, its sentences with their cosines, the score,
--      the score and rank of each retriever, and `also`, the other documents of the hit.
--      Every row has `idf`, the idf of each term. Without a hit there is one row, whose chunk_id is
--      NULL.

-- The idf of each term as in Lucene's BM25 (never negative), and the most that it adds to a score.
with term_stats as materialized (
    select
        term, number, idf, count_in_question * idf as max_score,
        sum(chunks) over rarest <= %(max_postings)s or sum(chunks) over rarest = chunks as is_rare
    from (
        select
            t.term, t.number, t.count_in_question, coalesce(l.chunks, 0) as chunks,
            ln(
                1 + (%(chunk_count)s - coalesce(l.chunks, 0) + 0.5) / (coalesce(l.chunks, 0) + 0.5)
            ) as idf
        from unnest(%(terms)s::text[], %(term_numbers)s::integer[], %(term_counts)s::float8[])
            as t (term, number, count_in_question)
        cross join lateral (
            select sum(chunk_count)::float8 as chunks
            from lexicon
            where tenant_id = %(tenant)s and term = t.term
        ) l
    ) counted_terms
    window rarest as (order by chunks, term)
),
-- The highest BM25 score that any text can have for the question.
query_stats as materialized (
    select
        sum(max_score) as max_bm25,
        coalesce(jsonb_object_agg(term, idf), jsonb_build_object()) as idf_by_term
    from term_stats
),
-- Terms with too many postings to look for candidates.
common_terms as materialized (
    select term, max_score from term_stats where not is_rare
),
-- The chunks whose vectors are nearest to the question's.
dense_candidates as materialized (
    {nearest}
),
-- The chunks that either search found, with their BM25 score for the rare terms.
candidates as materialized (
    select chunk_id, sum(score) as score, min(dense_rank) as dense_rank
    from (
        select
            p.chunk_id, null::bigint as dense_rank,
            t.max_score * p.frequency
            / (p.frequency + %(bm25_base)s + %(bm25_slope)s * p.length) as score
        from term_stats t
        cross join lateral (  -- offset 0, here and below, forces a lookup by the whole key
            select chunk_id, frequency, length
            from posting
            where tenant_id = %(tenant)s and term = t.term
            offset 0
        ) p
        where t.is_rare
        union all
        select chunk_id, row_number() over (order by distance, chunk_id), 0 from dense_candidates
    ) both_searches
    group by chunk_id
),
-- All dense candidates, and twice the lexical depth, since common terms may still change the order.
shortlist as (
    select chunk_id, score, dense_rank from candidates where dense_rank is not null
    union
    (
        select chunk_id, score, dense_rank
        from (select * from candidates where score > 0 order by score desc, chunk_id offset 0) p
        where {chunk_condition}
        order by score desc, chunk_id
        limit 2 * %(lexical_depth)s
    )
),
-- The shortlist with the full BM25 score, common terms included.
lexical_scored as (
    select
        s.chunk_id, s.dense_rank,
        s.score + coalesce((
            select sum(
                t.max_score * p.frequency
                / (p.frequency + %(bm25_base)s + %(bm25_slope)s * p.length)
            )
            from common_terms t
            cross join lateral (
                select frequency, length
                from posting
                where tenant_id = %(tenant)s and term = t.term and chunk_id = s.chunk_id
                offset 0
            ) p
        ), 0) as lexical_score
    from shortlist s
),
-- The candidates that remain when each search is cut to its depth.
ranked_candidates as materialized (
    select
        chunk_id, dense_rank, lexical_score,
        case
            when lexical_score > 0 and lexical_position <= %(lexical_depth)s then lexical_position
        end as lexical_rank
    from (
        select *, row_number() over (order by lexical_score desc, chunk_id) as lexical_position
        from lexical_scored
    ) ordered
    where lexical_score > 0 and lexical_position <= %(lexical_depth)s or dense_rank is not null
),
-- The candidates with the cosines of passage and best sentence, and the idf of a sentence's terms.
signals as materialized (
    select
        c.*,
        (
            select 1 - (v.embedding <=> %(vector)s::halfvec)
            from {vectors} v
            where v.tenant_id = %(tenant)s and v.chunk_id = c.chunk_id
        ) as passage_cosine,
        s.*
    from ranked_candidates c
    cross join lateral (  -- the best sentence by meaning, and the best by words
        select
            1 - min(s.embedding <=> %(vector)s::halfvec) as sentence_cosine,
            max(
                case
                    when s.words && %(term_numbers)s::integer[]
                    then (select sum(t.max_score) from term_stats t where t.number = any (s.words))
                end
            ) as covered_idf
        from {sentences} s
        where s.tenant_id = %(tenant)s and s.chunk_id = c.chunk_id
    ) s
),
-- The candidates ranked by their best sentence.
sentence_ranked as (
    select *, rank() over (order by sentence_cosine desc nulls last) as sentence_rank from signals
),
-- The weighted sum of the four signals, and the rank by it.
fused as materialized (
    select
        *,
        row_number() over (
            order by score desc, passage_cosine desc nulls last, chunk_id
        ) as fused_rank
    from (
        select
            r.*,
            %(bm25_weight)s * coalesce(lexical_score / max_bm25, 0)
            + %(coverage_weight)s * coalesce(covered_idf / max_bm25, 0)
            + %(passage_weight)s * coalesce(passage_cosine, 0)
            + %(sentence_weight)s * coalesce(sentence_cosine, passage_cosine, 0) as score
        from sentence_ranked r cross join query_stats
    ) weighted
),
-- The ranked candidates with the document of their chunk, and the chunk's bands (MinHash).
with_document as materialized (
    select f.*, c.document_id as holder, c.bands
    from fused f
    cross join lateral (
        select document_id, case when %(collapse)s then bands else '{{}}' end as bands
        from chunk
        where tenant_id = %(tenant)s and chunk_id = f.chunk_id
        offset 0
    ) c
),
-- The bands that several candidates share, and the best of these candidates.
shared_bands as materialized (
    select band, min(fused_rank) as best_rank
    from with_document
    cross join lateral unnest(bands) as b (band)
    group by band
    having count(*) > 1
),
-- Each candidate with the best candidate that shares a band with it, or itself.
near_duplicates as materialized (
    select
        *,
        least(
            fused_rank, (select min(b.best_rank) from shared_bands b where b.band = any (d.bands))
        ) as leader_rank
    from with_document d
),
-- One row for each document with the passage: the holder, and the documents with the same bytes.
placements as materialized (
    select
        n.*, d.*,
        case n.leader_rank
            when n.fused_rank then n.fused_rank
            else (select l.leader_rank from near_duplicates l where l.fused_rank = n.leader_rank)
        end as group_rank
    from near_duplicates n
    cross join lateral (
        select document_id, path, title, edition, uri, same_as is not null as is_copy
        from document d
        where tenant_id = %(tenant)s and holder = n.holder and {document_condition}
        offset 0
    ) d
),
-- The placements of a group in order: the named edition, else the newest, if it is nearly as good.
ranked_placements as materialized (
    select
        *,
        row_number() over (
            partition by group_rank
            order by
                score >= group_score - %(edition_margin)s * abs(group_score) desc,
                is_named_edition desc,
                string_to_array(translate(edition, '-', '.'), '.')::bigint[] desc nulls last,
                fused_rank, is_copy, uri
        ) as placement_rank
    from (
        select
            p.*, max(score) over (partition by group_rank) as group_score,
            exists (
                select from unnest(%(named_editions)s::text[]) as e (name)
                where
                    edition = name
                    or starts_with(edition, name || '.')
                    or starts_with(edition, name || '-')
            ) as is_named_edition
        from placements p
    ) p
),
-- The placement that represents each group, as many as the caller asked for.
representatives as (
    select * from ranked_placements where placement_rank = 1 order by group_rank limit %(limit)s
)
select
    row_number() over (order by r.group_rank) as rank,
    r.chunk_id, c.*, s.spans as sentence_spans, s.cosines as sentence_cosines,
    r.group_score as score, r.lexical_score, r.lexical_rank,
    r.passage_cosine as dense_score, r.dense_rank,
    r.sentence_cosine as sentence_score, r.sentence_rank,
    coalesce(r.covered_idf / nullif(q.max_bm25, 0), 0) as coverage,
    r.edition, o.also, q.idf_by_term as idf
from query_stats q
left join (
    representatives r
    cross join lateral (
        select
            d.document_id, c.ordinal, d.title, d.path, d.uri, d.version, d.media_type, d.metadata,
            c.location, c.context, c.start_char, c.end_char, c.text
        from chunk c
        cross join lateral (
            select document_id, title, path, uri, version, media_type, metadata
            from document
            where tenant_id = %(tenant)s and holder = c.document_id
            offset 0
        ) d
        where c.tenant_id = %(tenant)s and c.chunk_id = r.chunk_id and d.document_id = r.document_id
        offset 0
    ) c
    cross join lateral (
        select
            array_agg(array[s.start_char, s.end_char] order by s.ordinal) as spans,
            array_agg(1 - (s.embedding <=> %(vector)s::halfvec) order by s.ordinal) as cosines
        from {sentences} s
        where s.tenant_id = %(tenant)s and s.chunk_id = r.chunk_id
    ) s
    cross join lateral (
        select
            jsonb_agg(
                jsonb_build_object(
                    'document_id', document_id, 'path', path, 'title', title, 'edition', edition,
                    'exact', chunk_id = r.chunk_id
                )
                order by placement_rank
            ) as also
        from ranked_placements
        where group_rank = r.group_rank and placement_rank > 1
    ) o
) on true
order by rank

-- name: nearest_exact
-- The dense search that compares every vector, for a tenant or a filter with few chunks. Part of
-- search.
-- OFFSET 0 keeps the sort outside the subquery, so PostgreSQL can't use the vector index for it.
select chunk_id, distance
from (
    select chunk_id, embedding <=> %(vector)s::halfvec as distance
    from {vectors} p
    where tenant_id = %(tenant)s and {chunk_condition}
    offset 0
) p
order by distance
limit %(dense_depth)s

-- name: nearest_index
-- The dense search by the vector index. Part of search.
select chunk_id, embedding <=> %(vector)s::halfvec as distance
from {vectors} p
where tenant_id = %(tenant)s and {chunk_condition}
order by embedding <=> %(vector)s::halfvec
limit %(dense_depth)s
