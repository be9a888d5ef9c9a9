-- A worker is alive: renew its leases and show that its run goes on. In: tenant, run_id, worker, seconds.
with renewed as (
    update item set lease_until = now() + make_interval(secs => %(seconds)s)
    where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'leased' and worker = %(worker)s
)
update run set heartbeat_at = now() where tenant_id = %(tenant)s and run_id = %(run_id)s and state in ('planning', 'running')
