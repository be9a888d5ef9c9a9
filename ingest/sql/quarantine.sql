-- Put files aside with the reason, given as one array a column and in the order of uri. In: tenant, run_id,
-- pipeline_hash, the columns.
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
