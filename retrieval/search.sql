-- name: search
-- A question against what the reader may see: BM25 and vectors, fused, best first.
--
-- In:  {vectors}, {sentences}   the tables of the live index version
--      nearest                  in braces: the dense leg, nearest_exact.sql or nearest_index.sql
--      tenant                   the same as the transaction's; written out so that plans see one tenant
--      terms, numbers, weights  the question's terms, their numbers, and how often each is asked for
--      vector                   the question's vector (NULL: no dense leg)
--      chunks, base, slope      how many chunks the reader may see; BM25's k1 (1 - b), and k1 b by the mean length
--      lexical_depth, dense_depth   candidates taken from each leg; 0 switches a leg off
--      budget                   postings that may be read to find candidates; the rarest term's are read in any case
--      passes, stands           in braces: what a filter lets pass of chunk p, and of document d; see retrieval/filter_plan.py
--      collapse, editions       whether near-duplicates share a hit, and the editions that the question names
--      margin                   by what share of the best score an edition may be worse and still stand for the others
--      bm25_weight, coverage_weight, passage_weight, sentence_weight, limit   see retrieval/retriever.py
-- Out: a row for each hit: the chunk, its document, its sentences with their cosine to the question, the score that
--      ranks it, and each leg's score and rank; `also` is where else it stands, and what it stands for. In every row: how
--      rare each term is (idf). Without a hit there is one row, whose chunk_id is NULL.
with rarity as materialized (  -- idf as in Lucene's BM25: never negative. `gain` is the most that a term can add
    select
        term, number, idf, weight * idf as gain,
        sum(chunks) over rarest <= %(budget)s or sum(chunks) over rarest = chunks as leads
    from (
        select
            a.term, a.number, a.weight, coalesce(l.chunks, 0) as chunks,
            ln(1 + (%(chunks)s - coalesce(l.chunks, 0) + 0.5) / (coalesce(l.chunks, 0) + 0.5)) as idf
        from unnest(%(terms)s::text[], %(numbers)s::integer[], %(weights)s::float8[]) as a (term, number, weight)
        cross join lateral (
            select sum(chunk_count)::float8 as chunks from lexicon where tenant_id = %(tenant)s and term = a.term
        ) l
    ) counted
    window rarest as (order by chunks, term)
),
asked as materialized (  -- `most` is what BM25 can't exceed, whatever a chunk says
    select sum(gain) as most, coalesce(jsonb_object_agg(term, idf), jsonb_build_object()) as idf from rarity
),
common as materialized (
    select term, gain from rarity where not leads
),
nearest as materialized (
    {nearest}
),
found as materialized (  -- by either leg, with BM25 as far as the rare terms go
    select chunk_id, sum(score) as score, min(dense_rank) as dense_rank
    from (
        select
            p.chunk_id, null::bigint as dense_rank,
            r.gain * p.frequency / (p.frequency + %(base)s + %(slope)s * p.length) as score
        from rarity r
        cross join lateral (  -- offset 0, here and below: for each row on the left, look it up by the whole key
            select chunk_id, frequency, length from posting where tenant_id = %(tenant)s and term = r.term offset 0
        ) p
        where r.leads
        union all
        select chunk_id, row_number() over (order by distance, chunk_id), 0 from nearest
    ) f
    group by chunk_id
),
pool as (  -- twice as many as are wanted, since the common terms may yet change their order
    select chunk_id, score, dense_rank from found where dense_rank is not null
    union
    (
        select chunk_id, score, dense_rank
        from (select * from found where score > 0 order by score desc, chunk_id offset 0) p
        where {passes}
        order by score desc, chunk_id
        limit 2 * %(lexical_depth)s
    )
),
weighed as (
    select
        k.chunk_id, k.dense_rank,
        k.score + coalesce((
            select sum(r.gain * p.frequency / (p.frequency + %(base)s + %(slope)s * p.length))
            from common r
            cross join lateral (
                select frequency, length
                from posting
                where tenant_id = %(tenant)s and term = r.term and chunk_id = k.chunk_id
                offset 0
            ) p
        ), 0) as lexical
    from pool k
),
candidate as materialized (
    select chunk_id, dense_rank, lexical, case when lexical > 0 and place <= %(lexical_depth)s then place end as lexical_rank
    from (select *, row_number() over (order by lexical desc, chunk_id) as place from weighed) w
    where lexical > 0 and place <= %(lexical_depth)s or dense_rank is not null
),
signal as materialized (
    select
        k.*,
        (
            select 1 - (v.embedding <=> %(vector)s::halfvec)
            from {vectors} v
            where v.tenant_id = %(tenant)s and v.chunk_id = k.chunk_id
        ) as passage,
        s.*
    from candidate k
    cross join lateral (  -- the best by meaning and the best by words; most often the same one
        select
            1 - min(s.embedding <=> %(vector)s::halfvec) as sentence,
            max(
                case
                    when s.words && %(numbers)s::integer[]
                    then (select sum(r.gain) from rarity r where r.number = any (s.words))
                end
            ) as covered
        from {sentences} s
        where s.tenant_id = %(tenant)s and s.chunk_id = k.chunk_id
    ) s
),
mixed as (
    select
        *,
        rank() over (order by sentence desc nulls last) as sentence_rank
    from signal
),
scored as materialized (
    select *, row_number() over (order by score desc, passage desc nulls last, chunk_id) as place
    from (
        select
            m.*,
            %(bm25_weight)s * coalesce(lexical / most, 0) + %(coverage_weight)s * coalesce(covered / most, 0)
            + %(passage_weight)s * coalesce(passage, 0)
            + %(sentence_weight)s * coalesce(sentence, passage, 0) as score
        from mixed m cross join asked
    ) s
),
held as materialized (  -- with the document that holds it
    select s.*, c.document_id as holder, c.bands
    from scored s
    cross join lateral (
        select document_id, case when %(collapse)s then bands else '{{}}' end as bands
        from chunk
        where tenant_id = %(tenant)s and chunk_id = s.chunk_id
        offset 0
    ) c
),
shared as materialized (  -- bands that several have, and the first of these
    select band, min(place) as first
    from held
    cross join lateral unnest(bands) as b (band)
    group by band
    having count(*) > 1
),
alike as materialized (  -- the first of those that it shares a band with, itself included
    select *, least(place, (select min(s.first) from shared s where s.band = any (h.bands))) as leader from held h
),
stand as materialized (  -- where each stands: in its document, and in those that are the same as that
    select
        h.*, d.*,
        case h.leader when h.place then h.place else (select l.leader from alike l where l.place = h.leader) end as first
    from alike h
    cross join lateral (
        select document_id, path, title, edition, uri, same_as is not null as copy
        from document d
        where tenant_id = %(tenant)s and holder = h.holder and {stands}
        offset 0
    ) d
),
turn as materialized (  -- who stands for those that are alike: the edition asked for, else the newest, if nearly as good
    select
        *,
        row_number() over (
            partition by first
            order by
                score >= best - %(margin)s * abs(best) desc, named desc,
                string_to_array(translate(edition, '-', '.'), '.')::bigint[] desc nulls last, place, copy, uri
        ) as turn
    from (
        select
            s.*, max(score) over (partition by first) as best,
            exists (
                select from unnest(%(editions)s::text[]) as e (asked)
                where edition = asked or starts_with(edition, asked || '.') or starts_with(edition, asked || '-')
            ) as named
        from stand s
    ) s
),
best as (
    select * from turn where turn = 1 order by first limit %(limit)s
)
select
    row_number() over (order by f.first) as rank,
    f.chunk_id, c.*, s.spans as sentence_spans, s.cosines as sentence_cosines,
    f.best as score, f.lexical as lexical_score, f.lexical_rank, f.passage as dense_score, f.dense_rank,
    f.sentence as sentence_score, f.sentence_rank, coalesce(f.covered / nullif(asked.most, 0), 0) as coverage, f.edition, o.also, asked.idf
from asked
left join (
    best f
    cross join lateral (
        select
            d.document_id, c.ordinal, d.title, d.path, d.uri, d.version, d.media_type, d.metadata, c.location, c.context,
            c.start_char, c.end_char, c.text
        from chunk c
        cross join lateral (
            select document_id, title, path, uri, version, media_type, metadata
            from document
            where tenant_id = %(tenant)s and holder = c.document_id
            offset 0
        ) d
        where c.tenant_id = %(tenant)s and c.chunk_id = f.chunk_id and d.document_id = f.document_id
        offset 0
    ) c
    cross join lateral (
        select
            array_agg(array[s.start_char, s.end_char] order by s.ordinal) as spans,
            array_agg(1 - (s.embedding <=> %(vector)s::halfvec) order by s.ordinal) as cosines
        from {sentences} s
        where s.tenant_id = %(tenant)s and s.chunk_id = f.chunk_id
    ) s
    cross join lateral (
        select
            jsonb_agg(
                jsonb_build_object(
                    'document_id', document_id, 'path', path, 'title', title, 'edition', edition,
                    'exact', chunk_id = f.chunk_id
                )
                order by turn
            ) as also
        from turn
        where first = f.first and turn > 1
    ) o
) on true
order by rank

-- name: nearest_exact
-- The dense leg by comparing every vector: for a tenant or a filter that leaves few. Stands within search.sql.
-- OFFSET 0 keeps the order outside, so that the vector index can't be what brings it.
select chunk_id, distance
from (
    select chunk_id, embedding <=> %(vector)s::halfvec as distance
    from {vectors} p
    where tenant_id = %(tenant)s and {passes}
    offset 0
) p
order by distance
limit %(dense_depth)s

-- name: nearest_index
-- The dense leg by the vector index. Stands within search.sql.
select chunk_id, embedding <=> %(vector)s::halfvec as distance
from {vectors} p
where tenant_id = %(tenant)s and {passes}
order by embedding <=> %(vector)s::halfvec
limit %(dense_depth)s
