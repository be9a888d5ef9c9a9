-- Write documents' rows, or lock and rewrite those that have their uris, given as one array a column and in the order of
-- uri, so that two transactions never wait for each other. In: tenant, run_id, pipeline_hash, the columns.
-- Out: uri, replaced.
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
    content_key, edition, place
)
left join tombstone t on t.tenant_id = %(tenant)s and t.document_id = n.document_id
order by n.place
on conflict (tenant_id, uri) do update set
    reader_set_id = excluded.reader_set_id, path = excluded.path, title = excluded.title,
    media_type = excluded.media_type, version = d.version + 1, content_hash = excluded.content_hash,
    pipeline_hash = excluded.pipeline_hash, text = excluded.text, blocks = excluded.blocks,
    metadata = excluded.metadata, run_id = excluded.run_id, source_tag = excluded.source_tag, same_as = excluded.same_as,
    content_key = excluded.content_key, edition = excluded.edition, ingested_at = now()
returning uri, version > 1 as replaced
