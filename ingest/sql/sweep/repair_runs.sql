-- Close runs that nobody works on. What they had left to do, the next run of the same source does.
-- In: tenant, seconds. Out: how many.
with dead as (
    update run set state = 'failed', message = 'abandoned: no worker was left', finished_at = now()
    where tenant_id = %(tenant)s and state in ('planning', 'running')
    and heartbeat_at < now() - make_interval(secs => %(seconds)s)
    returning run_id
),
dropped as (
    update item set state = 'superseded', outcome = 'superseded', fence = fence + 1, lease_until = null
    where tenant_id = %(tenant)s and state in ('waiting', 'leased') and run_id in (select run_id from dead)
)
select count(*) from dead
