-- Put a file aside with the reason. In: the columns.
insert into quarantine as q (
    tenant_id, uri, path, content_hash, pipeline_hash, stage, reason, message, attempts, run_id
)
values (
    %(tenant)s, %(uri)s, %(path)s, %(content_hash)s, %(pipeline_hash)s, %(stage)s, %(reason)s, %(message)s, 1,
    %(run_id)s
)
on conflict (tenant_id, uri) do update set
    path = excluded.path, content_hash = excluded.content_hash, pipeline_hash = excluded.pipeline_hash,
    stage = excluded.stage, reason = excluded.reason, message = excluded.message, attempts = q.attempts + 1,
    run_id = excluded.run_id, quarantined_at = now()
