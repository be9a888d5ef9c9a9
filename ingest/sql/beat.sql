-- A worker is alive: renew its leases of what it knows to have, and show that its run goes on.
-- In: tenant, run_id, worker, uris, fences, seconds.
with ours as (  -- what is locked is being stored just now
    select i.uri
    from item i
    join unnest(%(uris)s::text[], %(fences)s::bigint[]) as known (uri, fence) on known.uri = i.uri and known.fence = i.fence
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'leased' and i.worker = %(worker)s
    for update of i skip locked
),
renewed as (
    update item i set lease_until = now() + make_interval(secs => %(seconds)s)
    from ours
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = ours.uri
)
update run set heartbeat_at = now() where tenant_id = %(tenant)s and run_id = %(run_id)s and state in ('planning', 'running')
