-- name: miscounted_documents
select 1 from reader_set r
where document_count <> (
    select count(*) from document d
    where d.tenant_id = r.tenant_id and d.reader_set_id = r.reader_set_id
)

-- name: miscounted_chunks
select 1 from reader_set r
where chunk_count <> (
    select count(*) from chunk c
    where c.tenant_id = r.tenant_id and c.reader_set_id = r.reader_set_id
)

-- name: miscounted_terms
select 1 from reader_set r
where term_count <> (
    select coalesce(sum(term_count), 0) from chunk c
    where c.tenant_id = r.tenant_id and c.reader_set_id = r.reader_set_id
)

-- name: wrong_lexicon
select 1
from (
    select tenant_id, reader_set_id, term, count(*) as chunks from posting group by 1, 2, 3
) p
full join (
    select tenant_id, reader_set_id, term, chunk_count as chunks from lexicon
) l using (tenant_id, reader_set_id, term)
where coalesce(p.chunks, 0) <> coalesce(l.chunks, 0)

-- name: uncounted_change
select 1 from statistics_change

-- name: posting_without_chunk
select 1 from posting p left join chunk c using (tenant_id, chunk_id) where c.chunk_id is null

-- name: chunk_without_postings
select 1 from chunk c
where cardinality(terms) <> (
    select count(*) from posting p
    where p.tenant_id = c.tenant_id and p.chunk_id = c.chunk_id
)

-- name: chunk_without_vector
select 1 from chunk c left join vector_1 v using (tenant_id, chunk_id) where v.chunk_id is null

-- name: vector_without_chunk
select 1 from vector_1 v left join chunk c using (tenant_id, chunk_id) where c.chunk_id is null

-- name: sentence_without_chunk
select 1 from sentence_1 s left join chunk c using (tenant_id, chunk_id) where c.chunk_id is null

-- name: duplicate_without_original
select 1
from document d
left join document h
    on h.tenant_id = d.tenant_id and h.document_id = d.same_as and h.same_as is null
    and h.content_key = d.content_key and h.reader_set_id = d.reader_set_id
where d.same_as is not null and h.document_id is null

-- name: duplicate_with_chunks
select 1 from chunk c join document d using (tenant_id, document_id) where d.same_as is not null

-- name: document_without_chunks
select 1 from document d
where not exists (
    select from chunk c where c.tenant_id = d.tenant_id and c.document_id = d.holder
)

-- name: document_stored_twice
select 1 from document group by tenant_id, uri having count(*) > 1

-- name: different_reader_sets
select 1 from chunk c join document d using (tenant_id, document_id)
where c.reader_set_id <> d.reader_set_id
