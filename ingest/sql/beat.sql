-- A worker is alive: renew its leases and show that its run goes on. In: tenant, run_id, worker, seconds.
with ours as (  -- what is locked is being stored just now
    select uri from item
    where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'leased' and worker = %(worker)s
    for update skip locked
),
renewed as (
    update item i set lease_until = now() + make_interval(secs => %(seconds)s)
    from ours
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = ours.uri
)
update run set heartbeat_at = now() where tenant_id = %(tenant)s and run_id = %(run_id)s and state in ('planning', 'running')
