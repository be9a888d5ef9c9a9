-- In: tenant, seconds. Out: how many runs are open though no worker has shown itself for so long.
select count(*) from run
where tenant_id = %(tenant)s and state in ('planning', 'running')
and heartbeat_at < now() - make_interval(secs => %(seconds)s)
