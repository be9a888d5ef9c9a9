-- Write a document's row, or lock and rewrite the one that has its uri. In: the columns. Out: version, replaced.
insert into document as d (
    tenant_id, document_id, reader_set_id, uri, path, title, media_type, version, content_hash, pipeline_hash,
    text, blocks, metadata, run_id
)
values (
    %(tenant)s, %(document_id)s, %(reader_set_id)s, %(uri)s, %(path)s, %(title)s, %(media_type)s,
    1 + coalesce((
        select t.version from tombstone t where t.tenant_id = %(tenant)s and t.document_id = %(document_id)s
    ), 0),
    %(content_hash)s, %(pipeline_hash)s, %(text)s, %(blocks)s, %(metadata)s, %(run_id)s
)
on conflict (tenant_id, uri) do update set
    reader_set_id = excluded.reader_set_id, path = excluded.path, title = excluded.title,
    media_type = excluded.media_type, version = d.version + 1, content_hash = excluded.content_hash,
    pipeline_hash = excluded.pipeline_hash, text = excluded.text, blocks = excluded.blocks,
    metadata = excluded.metadata, run_id = excluded.run_id, ingested_at = now()
returning version, version > 1 as replaced
