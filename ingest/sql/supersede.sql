-- Say what a run covers, and take what is below it from older runs: their workers can store none of it any more, and
-- an older run that still plans will leave it alone. A run whose planner is gone is closed.
-- In: tenant, run_id, number, uris, seconds (after which a silent run counts as dead).
-- Out: run_id, uri, alone, strikes of every file that was not yet done; what a worker had just then is tried alone.
with covers as (
    update run set uris = %(uris)s, heartbeat_at = now() where tenant_id = %(tenant)s and run_id = %(run_id)s
),
dead as (
    update run set state = 'failed', message = 'abandoned', finished_at = now()
    where tenant_id = %(tenant)s and number < %(number)s and state = 'planning'
    and heartbeat_at < now() - make_interval(secs => %(seconds)s)
),
theirs as (
    select
        i.run_id, i.uri, i.alone or i.state = 'leased' as alone,
        i.strikes + (i.alone and i.state = 'leased')::integer as strikes
    from item i
    join run r using (tenant_id, run_id)
    where i.tenant_id = %(tenant)s and i.state in ('waiting', 'leased') and r.number < %(number)s
    and exists (
        select from unnest(%(uris)s::text[]) as u (uri)
        where i.uri = u.uri or (right(u.uri, 1) = '/' and starts_with(i.uri, u.uri))
    )
    order by i.uri
    for update of i
)
update item i
set state = 'superseded', outcome = 'superseded', fence = fence + 1, lease_until = null
from theirs
where i.tenant_id = %(tenant)s and i.run_id = theirs.run_id and i.uri = theirs.uri
returning theirs.run_id, theirs.uri, theirs.alone, theirs.strikes
