-- name: list_known_files
-- The stored and quarantined files below a source. In: tenant, uri (of a file or, ending in a slash, of a folder).
-- Out: uri, content_hash, pipeline_hash, allowed_groups, tag, is_quarantined, reason, message, stored_at.
select
    d.uri, d.content_hash, d.pipeline_hash, r.readers as allowed_groups, d.source_tag as tag,
    false as is_quarantined, '' as reason, '' as message, d.ingested_at as stored_at
from document d
join reader_set r using (tenant_id, reader_set_id)
where d.tenant_id = %(tenant)s and (d.uri = %(uri)s or (right(%(uri)s, 1) = '/' and starts_with(d.uri, %(uri)s)))
union all
select q.uri, q.content_hash, q.pipeline_hash, '{}', q.source_tag, true, q.reason, q.message, q.quarantined_at
from quarantine q
where q.tenant_id = %(tenant)s and (q.uri = %(uri)s or (right(%(uri)s, 1) = '/' and starts_with(q.uri, %(uri)s)))

-- name: upsert_documents
-- Insert documents, or lock and rewrite those with the same uri. The arrays, one per column, are in the order of uri, so
-- that two transactions never wait for each other. In: tenant, run_id, pipeline_hash, the columns. Out: uri, replaced.
insert into document as d (
    tenant_id, document_id, reader_set_id, uri, path, title, media_type, version, content_hash, pipeline_hash,
    text, blocks, metadata, run_id, source_tag, same_as, content_key, edition
)
select
    %(tenant)s, n.document_id, n.reader_set_id, n.uri, n.path, n.title, n.media_type, 1 + coalesce(t.version, 0),
    n.content_hash, %(pipeline_hash)s, n.text, n.blocks, n.metadata, %(run_id)s, n.source_tag,
    n.same_as, n.content_key, n.edition
from unnest(
    %(document_ids)s::uuid[], %(reader_set_ids)s::integer[], %(uris)s::text[], %(paths)s::text[], %(titles)s::text[],
    %(media_types)s::text[], %(content_hashes)s::text[], %(texts)s::text[], %(blocks)s::jsonb[],
    %(metadata)s::jsonb[], %(tags)s::text[], %(same_as)s::uuid[], %(contents)s::text[], %(editions)s::text[]
) with ordinality as n (
    document_id, reader_set_id, uri, path, title, media_type, content_hash, text, blocks, metadata, source_tag, same_as,
    content_key, edition, position
)
left join tombstone t on t.tenant_id = %(tenant)s and t.document_id = n.document_id
order by n.position
on conflict (tenant_id, uri) do update set
    reader_set_id = excluded.reader_set_id, path = excluded.path, title = excluded.title,
    media_type = excluded.media_type, version = d.version + 1, content_hash = excluded.content_hash,
    pipeline_hash = excluded.pipeline_hash, text = excluded.text, blocks = excluded.blocks,
    metadata = excluded.metadata, run_id = excluded.run_id, source_tag = excluded.source_tag, same_as = excluded.same_as,
    content_key = excluded.content_key, edition = excluded.edition, ingested_at = now()
returning uri, version > 1 as replaced

-- name: delete_previous_content
-- Delete the previous content of documents: chunks (with their vectors, sentences and postings), tombstones and
-- quarantines. In: tenant, document_ids, uris.
with chunks as (
    delete from chunk where tenant_id = %(tenant)s and document_id = any (%(document_ids)s::uuid[])
),
tombstones as (
    delete from tombstone where tenant_id = %(tenant)s and document_id = any (%(document_ids)s::uuid[])
)
delete from quarantine where tenant_id = %(tenant)s and uri = any (%(uris)s::text[])

-- name: reserve_chunk_ids
-- Reserve ids for new chunks. In: count. Out: chunk_id.
select nextval(pg_get_serial_sequence('chunk', 'chunk_id')) as chunk_id from generate_series(1, %(count)s)

-- name: insert_chunks
-- Insert chunks, one array per column; terms and bands are separated by spaces. In: tenant, the columns.
insert into chunk (
    tenant_id, chunk_id, document_id, reader_set_id, ordinal, start_char, end_char, text, context, location, tokens,
    term_count, terms, bands
)
select
    %(tenant)s, c.chunk_id, c.document_id, c.reader_set_id, c.ordinal, c.start_char, c.end_char, c.text, c.context,
    c.location, c.tokens, c.term_count, string_to_array(c.terms, ' '), string_to_array(c.bands, ' ')::integer[]
from unnest(
    %(chunk_ids)s::bigint[], %(document_ids)s::uuid[], %(reader_set_ids)s::integer[], %(ordinals)s::integer[],
    %(starts)s::integer[], %(ends)s::integer[], %(texts)s::text[], %(contexts)s::text[], %(locations)s::jsonb[],
    %(tokens)s::integer[], %(lengths)s::integer[], %(terms)s::text[], %(bands)s::text[]
) as c (
    chunk_id, document_id, reader_set_id, ordinal, start_char, end_char, text, context, location, tokens, term_count,
    terms, bands
)

-- name: insert_postings
-- Insert the postings of chunks, in the order of their index. In: tenant, and for each chunk chunk_ids, reader_set_ids,
-- lengths, terms and frequencies (both separated by spaces).
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

-- name: insert_vectors
-- Insert the vectors of chunks into the table of an index version. In: {vectors}, tenant, chunk_ids, reader_set_ids,
-- embeddings (halfvec[]).
insert into {vectors} (tenant_id, chunk_id, reader_set_id, embedding)
select %(tenant)s, v.chunk_id, v.reader_set_id, v.embedding
from unnest(%(chunk_ids)s::bigint[], %(reader_set_ids)s::integer[], %(embeddings)s::halfvec[])
    as v (chunk_id, reader_set_id, embedding)

-- name: insert_sentences
-- Insert the sentences of chunks. In: {sentences}, tenant, one array per column; embeddings (halfvec[], NULLs without
-- sentence vectors); words (text[]: term numbers, separated by spaces).
insert into {sentences} (tenant_id, chunk_id, ordinal, reader_set_id, start_char, end_char, embedding, words)
select %(tenant)s, s.chunk_id, s.ordinal, s.reader_set_id, s.start_char, s.end_char, s.embedding,
    string_to_array(s.words, ' ')::integer[]
from unnest(
    %(chunk_ids)s::bigint[], %(ordinals)s::integer[], %(reader_set_ids)s::integer[], %(starts)s::integer[],
    %(ends)s::integer[], %(embeddings)s::halfvec[], %(words)s::text[]
) as s (chunk_id, ordinal, reader_set_id, start_char, end_char, embedding, words)

-- name: delete_documents
-- Delete documents and leave a tombstone for each; forget quarantined files. In: tenant, uris, run_id.
-- Out: uri of each that existed.
with deleted as (
    delete from document where tenant_id = %(tenant)s and uri = any (%(uris)s::text[])
    returning document_id, uri, version
),
tombstones as (
    insert into tombstone (tenant_id, document_id, uri, version, run_id)
    select %(tenant)s, document_id, uri, version, %(run_id)s from deleted
    on conflict (tenant_id, document_id) do update set
        version = excluded.version, run_id = excluded.run_id, deleted_at = now()
),
released as (
    delete from quarantine where tenant_id = %(tenant)s and uri = any (%(uris)s::text[]) returning uri
)
select uri from deleted union select uri from released

-- name: upsert_quarantine
-- Quarantine files with the reason, one array per column, in the order of uri. In: tenant, run_id, pipeline_hash, the
-- columns.
insert into quarantine as q (
    tenant_id, uri, path, content_hash, pipeline_hash, stage, reason, message, attempts, run_id, source_tag
)
select
    %(tenant)s, n.uri, n.path, n.content_hash, %(pipeline_hash)s, n.stage, n.reason, n.message, n.attempts,
    %(run_id)s, n.source_tag
from unnest(
    %(uris)s::text[], %(paths)s::text[], %(content_hashes)s::text[], %(stages)s::text[], %(reasons)s::text[],
    %(messages)s::text[], %(attempts)s::integer[], %(tags)s::text[]
) as n (uri, path, content_hash, stage, reason, message, attempts, source_tag)
on conflict (tenant_id, uri) do update set
    path = excluded.path, content_hash = excluded.content_hash, pipeline_hash = excluded.pipeline_hash,
    stage = excluded.stage, reason = excluded.reason, message = excluded.message,
    attempts = q.attempts + excluded.attempts, run_id = excluded.run_id, source_tag = excluded.source_tag,
    quarantined_at = now()

-- name: update_tags
-- Record the tags of unchanged files, so that the next run need not read them. In: tenant, uris, tags.
with unchanged as (
    select uri, tag from unnest(%(uris)s::text[], %(tags)s::text[]) as s (uri, tag)
),
quarantined as (
    update quarantine q set source_tag = unchanged.tag from unchanged
    where q.tenant_id = %(tenant)s and q.uri = unchanged.uri
)
update document d set source_tag = unchanged.tag from unchanged
where d.tenant_id = %(tenant)s and d.uri = unchanged.uri

-- name: ensure_reader_set
-- The id of a set of allowed groups, inserted if it is new. In: tenant, readers (sorted). Out: reader_set_id.
with inserted as (
    insert into reader_set (tenant_id, readers) values (%(tenant)s, %(readers)s)
    on conflict (tenant_id, readers) do nothing
    returning reader_set_id
)
select reader_set_id from inserted
union all
select reader_set_id from reader_set where tenant_id = %(tenant)s and readers = %(readers)s
limit 1
