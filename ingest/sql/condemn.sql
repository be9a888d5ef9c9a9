-- Put files aside that failed too often while they were alone. In: tenant, run_id, most. Out: uri.
with condemned as (
    select uri from item
    where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'waiting' and action = 'take in'
    and strikes >= %(most)s
    order by uri
    for update skip locked
),
ended as (
    update item i
    set state = 'done', outcome = 'quarantined', stage = coalesce(nullif(i.stage, ''), 'parse')
    from condemned
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = condemned.uri
    returning i.*
)
insert into quarantine as q (
    tenant_id, uri, path, content_hash, pipeline_hash, stage, reason, message, attempts, run_id, source_tag
)
select e.tenant_id, e.uri, e.path, e.content_hash, r.pipeline_hash, e.stage, e.reason, e.message, e.strikes, e.run_id, e.tag
from ended e
join run r using (tenant_id, run_id)
order by e.uri
on conflict (tenant_id, uri) do update set
    path = excluded.path, content_hash = excluded.content_hash, pipeline_hash = excluded.pipeline_hash,
    stage = excluded.stage, reason = excluded.reason, message = excluded.message,
    attempts = excluded.attempts, run_id = excluded.run_id, source_tag = excluded.source_tag, quarantined_at = now()
returning uri
