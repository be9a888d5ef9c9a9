-- name: read_status
-- Counts of a tenant's documents, chunks and quarantined files. In: tenant. Out: one row.
select
    coalesce(sum(r.document_count), 0)::bigint as documents,
    coalesce(sum(r.chunk_count), 0)::bigint as chunks,
    coalesce(sum(r.document_count) filter (where r.readers <> '{}'), 0)::bigint as restricted_documents,
    (select count(*) from quarantine q where q.tenant_id = %(tenant)s) as put_aside,
    (
        select to_char(max(run.finished_at) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        from run where run.tenant_id = %(tenant)s and run.state = 'finished'
    ) as last_run
from reader_set r
where r.tenant_id = %(tenant)s

-- name: list_quarantined
-- The quarantined files, by path. In: tenant. Out: one row per file.
select uri, path, stage, reason, message, attempts, run_id, quarantined_at
from quarantine
where tenant_id = %(tenant)s
order by path, uri

-- name: release_quarantined
-- Have the next run try quarantined files again: their content no longer counts as known. In: tenant, uris.
-- Out: run_id of each.
update quarantine set content_hash = '', source_tag = null
where tenant_id = %(tenant)s and uri = any (%(uris)s::text[])
returning run_id

-- name: find_documents
-- The documents with a uri, path or id. In: tenant, name. Out: one row per document.
select
    d.document_id, d.uri, d.path, d.title, d.media_type, d.version, r.readers, d.content_hash, d.pipeline_hash,
    d.source_tag, d.metadata, d.edition, length(f.text) as characters, d.ingested_at, d.run_id, run.kind as run_kind,
    run.source as run_source, run.started_at as run_started_at
from document d
join reader_set r using (tenant_id, reader_set_id)
join document f on f.tenant_id = d.tenant_id and f.document_id = d.holder
left join run on run.tenant_id = d.tenant_id and run.run_id = d.run_id
where d.tenant_id = %(tenant)s and (d.uri = %(name)s or d.path = %(name)s or d.document_id::text = %(name)s)
order by d.uri
limit 10

-- name: list_chunks
-- The chunks of a document in order; for a duplicate, those of its holder. In: tenant, document_id. Out: one row per chunk.
select chunk_id, ordinal, start_char, end_char, tokens, location, context, text
from chunk
where tenant_id = %(tenant)s and document_id = (
    select holder from document where tenant_id = %(tenant)s and document_id = %(document_id)s
)
order by ordinal

-- name: list_places
-- All documents with the content of one, without itself. In: tenant, document_id. Out: one row per document, by path.
select d.document_id, d.uri, d.path, d.title, d.version, d.edition, d.same_as is null as first
from document own
join document d on d.tenant_id = own.tenant_id and d.holder = own.holder and d.document_id <> own.document_id
where own.tenant_id = %(tenant)s and own.document_id = %(document_id)s
order by d.path, d.uri

-- name: list_versions
-- What runs made of a file, newest first. In: tenant, uri. Out: one row per run; version is null if it made none.
select i.version, i.outcome as state, i.content_hash, i.reason, r.run_id, r.kind, r.started_at, r.pipeline_hash
from run r
join item i using (tenant_id, run_id)
where r.tenant_id = %(tenant)s and i.uri = %(uri)s and i.state = 'done'
order by r.number desc
limit 100
