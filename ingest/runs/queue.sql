-- name: lock_planning
-- Let one run of a tenant plan at a time. The lock is held until the transaction ends. In: tenant.
select pg_advisory_xact_lock(hashtext('groundwork plan'), hashtext(%(tenant)s))

-- name: open_run
-- Open a run that still has to plan. In: tenant, run_id, kind, source, sources, pipeline_hash.
-- Out: number, started_at.
insert into run (tenant_id, run_id, kind, source, sources, pipeline_hash, state)
values (%(tenant)s, %(run_id)s, %(kind)s, %(source)s, %(sources)s, %(pipeline_hash)s, 'planning')
returning number, started_at

-- name: supersede_older_runs
-- Record the uris that a run covers, and take their unfinished items from older runs: the workers of those can no longer
-- store them, and an older run that still plans skips them. A run whose planner is dead is closed.
-- In: tenant, run_id, number, uris, seconds (without a heartbeat for so long, a run counts as dead).
-- Out: run_id, uri, alone, strikes of every unfinished item. An item that was leased is tried alone from now on.
with covered as (
    update run set uris = %(uris)s, heartbeat_at = now() where tenant_id = %(tenant)s and run_id = %(run_id)s
),
dead as (
    update run set state = 'failed', message = 'abandoned', finished_at = now()
    where tenant_id = %(tenant)s and number < %(number)s and state = 'planning'
    and heartbeat_at < now() - make_interval(secs => %(seconds)s)
),
unfinished as (
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
from unfinished
where i.tenant_id = %(tenant)s and i.run_id = unfinished.run_id and i.uri = unfinished.uri
returning unfinished.run_id, unfinished.uri, unfinished.alone, unfinished.strikes

-- name: discard_run
-- Delete a run that has nothing to do, or whose planning failed. In: tenant, run_id.
delete from run where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'planning'

-- name: add_items
-- Write the items of a run, one array per column. An item that a newer run covers is marked as superseded.
-- In: tenant, run_id, number, the columns.
insert into item (tenant_id, run_id, uri, action, source, path, readers, size, tag, alone, strikes, state, outcome)
select
    %(tenant)s, %(run_id)s, n.uri, n.action, n.source, n.path,
    string_to_array(n.readers, E'\x1f'), n.size,
    n.tag, n.alone, n.strikes,
    case when newer.taken then 'superseded' else 'waiting' end, case when newer.taken then 'superseded' else '' end
from unnest(
    %(uris)s::text[], %(actions)s::text[], %(sources)s::integer[], %(paths)s::text[], %(readers)s::text[],
    %(sizes)s::bigint[], %(tags)s::text[], %(alone)s::boolean[], %(strikes)s::integer[]
) as n (uri, action, source, path, readers, size, tag, alone, strikes)
cross join lateral (
    select exists (
        select from run r
        cross join unnest(r.uris) as u (uri)
        where r.tenant_id = %(tenant)s and r.number > %(number)s
        and (n.uri = u.uri or (right(u.uri, 1) = '/' and starts_with(n.uri, u.uri)))
    ) as taken
) newer

-- name: start_run
-- Open a planned run to workers. In: tenant, run_id, settled (count of files by state that need no work).
update run set state = 'running', settled = %(settled)s, heartbeat_at = now()
where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'planning'

-- name: read_run
-- One run. In: tenant, run_id. Out: one row.
select
    run_id, number, kind, source, sources, uris, pipeline_hash, state, settled, counts, chunks, tokens, seconds, message,
    started_at, finished_at
from run
where tenant_id = %(tenant)s and run_id = %(run_id)s

-- name: list_runs
-- The newest runs of a tenant. In: tenant, limit. Out: one row per run, newest first.
select
    run_id, number, kind, source, sources, uris, pipeline_hash, state, settled, counts, chunks, tokens, seconds, message,
    started_at, finished_at
from run
where tenant_id = %(tenant)s
order by number desc
limit %(limit)s

-- name: list_open_runs
-- The runs of a tenant that workers can join. In: tenant. Out: run_id, oldest first.
select run_id from run where tenant_id = %(tenant)s and state = 'running' order by number

-- name: list_outcomes
-- The results of a run. In: tenant, run_id. Out: one row per finished file.
select uri, path, outcome as state, chunks, tokens, reason, message
from item
where tenant_id = %(tenant)s and run_id = %(run_id)s and outcome <> ''
order by uri

-- name: read_progress
-- Progress of a run. In: tenant, run_id. Out: one row.
select
    r.state, count(i.uri) as files, count(i.uri) filter (where i.state in ('done', 'superseded')) as done,
    count(i.uri) filter (where i.state = 'leased') as leased,
    coalesce(sum(i.chunks), 0)::bigint as chunks, coalesce(sum(i.tokens), 0)::bigint as tokens,
    count(distinct i.worker) filter (where i.state = 'leased') as workers
from run r
left join item i using (tenant_id, run_id)
where r.tenant_id = %(tenant)s and r.run_id = %(run_id)s
group by r.state

-- name: complete_run
-- Complete a run that has no unfinished items. Exactly one worker gets the row. In: tenant, run_id. Out: state.
with finished as (
    select outcome, count(*) as files, sum(chunks) as chunks, sum(tokens) as tokens
    from item where tenant_id = %(tenant)s and run_id = %(run_id)s and outcome <> ''
    group by outcome
)
update run r
set state = case when exists (select from finished where outcome = 'superseded') then 'superseded' else 'finished' end,
    finished_at = now(),
    chunks = coalesce((select sum(chunks) from finished), 0), tokens = coalesce((select sum(tokens) from finished), 0),
    counts = coalesce((
        select jsonb_object_agg(outcome, files)
        from (
            select outcome, sum(files)::bigint as files
            from (
                select outcome, files from finished
                union all select key, value::bigint from jsonb_each_text(r.settled)
            ) each_state group by outcome
        ) total
    ), '{}')
where r.tenant_id = %(tenant)s and r.run_id = %(run_id)s and r.state = 'running'
and not exists (
    select from item i
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state in ('waiting', 'leased')
)
returning r.state

-- name: fail_run
-- Mark a run as failed, unless other workers still hold leases. In: tenant, run_id, message.
with finished as (
    select outcome, count(*) as files, sum(chunks) as chunks, sum(tokens) as tokens
    from item where tenant_id = %(tenant)s and run_id = %(run_id)s and outcome <> ''
    group by outcome
)
update run r
set state = 'failed', finished_at = now(), message = %(message)s,
    chunks = coalesce((select sum(chunks) from finished), 0), tokens = coalesce((select sum(tokens) from finished), 0),
    counts = coalesce((select jsonb_object_agg(outcome, files) from finished), '{}')
where r.tenant_id = %(tenant)s and r.run_id = %(run_id)s and r.state in ('planning', 'running')
and not exists (
    select from item i
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'leased' and i.lease_until > now()
)

-- name: expire_leases
-- Free the items whose lease was not renewed. An item that was alone gets a strike; the others are tried alone from now
-- on, so that only the file that stops its workers is quarantined in the end. In: tenant, run_id. Out: uri.
with expired as (
    select uri from item
    where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'leased' and lease_until < now()
    order by uri
    for update skip locked
)
update item i
set state = 'waiting', alone = true, strikes = i.strikes + i.alone::integer, lease_until = null,
    reason = 'abandoned',
    message = i.path || ' stopped its worker several times. Leave it out with --exclude, or split it.'
from expired
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = expired.uri
returning i.uri

-- name: quarantine_repeat_failures
-- Quarantine the files that failed too often while they were alone. In: tenant, run_id, most. Out: uri.
with repeat_failures as (
    select uri from item
    where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'waiting' and action = 'take in'
    and strikes >= %(most)s
    order by uri
    for update skip locked
),
quarantined as (
    update item i
    set state = 'done', outcome = 'quarantined', stage = coalesce(nullif(i.stage, ''), 'parse')
    from repeat_failures
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = repeat_failures.uri
    returning i.*
)
insert into quarantine as q (
    tenant_id, uri, path, content_hash, pipeline_hash, stage, reason, message, attempts, run_id, source_tag
)
select e.tenant_id, e.uri, e.path, e.content_hash, r.pipeline_hash, e.stage, e.reason, e.message, e.strikes, e.run_id, e.tag
from quarantined e
join run r using (tenant_id, run_id)
order by e.uri
on conflict (tenant_id, uri) do update set
    path = excluded.path, content_hash = excluded.content_hash, pipeline_hash = excluded.pipeline_hash,
    stage = excluded.stage, reason = excluded.reason, message = excluded.message,
    attempts = excluded.attempts, run_id = excluded.run_id, source_tag = excluded.source_tag, quarantined_at = now()
returning uri

-- name: claim
-- Lease a batch: free items, first those to ingest, then those to delete. An item that is tried alone is a batch by itself.
-- An item with too many strikes is left to quarantine_repeat_failures, also if it got its last strike after that ran.
-- Each claim raises the fence. In: tenant, run_id, worker, strikes (too many), most (files), most_bytes, seconds.
-- Out: one row per item.
with first as (
    select i.action, i.alone
    from item i
    join run r using (tenant_id, run_id)
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'waiting' and r.state = 'running'
    and (i.strikes < %(strikes)s or i.action = 'delete')
    and (i.action = 'take in' or not exists (
        select from item o
        where o.tenant_id = %(tenant)s and o.run_id = %(run_id)s and o.action = 'take in'
        and o.state in ('waiting', 'leased')
    ))
    order by i.action desc, i.alone, i.uri
    limit 1
    for update of i skip locked
),
candidates as (
    select i.uri, i.size
    from item i
    join first f on f.action = i.action and f.alone = i.alone
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'waiting'
    and (i.strikes < %(strikes)s or i.action = 'delete')
    order by i.uri
    limit (select case when alone then 1 else %(most)s end from first)
    for update of i skip locked
),
chosen as (
    select uri
    from (select uri, row_number() over (order by uri) as position, sum(size) over (order by uri) as bytes from candidates) c
    where position = 1 or bytes is null or bytes <= %(most_bytes)s
)
update item i
set state = 'leased', attempt = i.attempt + 1, fence = i.fence + 1, worker = %(worker)s,
    lease_until = now() + make_interval(secs => %(seconds)s)
from chosen
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = chosen.uri
returning
    i.uri, i.action, i.source as source_index, i.path, i.readers as allowed_groups, i.size, i.tag,
    i.alone as is_isolated, i.strikes as failed_attempts, i.fence

-- name: renew_leases
-- Renew the leases that a worker knows it holds, and the heartbeat of its run.
-- In: tenant, run_id, worker, uris, fences, seconds.
with held as (  -- a locked item is being stored
    select i.uri
    from item i
    join unnest(%(uris)s::text[], %(fences)s::bigint[]) as known (uri, fence) on known.uri = i.uri and known.fence = i.fence
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'leased' and i.worker = %(worker)s
    for update of i skip locked
),
renewed as (
    update item i set lease_until = now() + make_interval(secs => %(seconds)s)
    from held
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = held.uri
)
update run set heartbeat_at = now() where tenant_id = %(tenant)s and run_id = %(run_id)s and state in ('planning', 'running')

-- name: lock_items
-- Lock the items of a batch that the worker still holds: nobody can claim or supersede them before the transaction ends.
-- In: tenant, run_id, uris, fences. Out: uri.
select i.uri
from item i
join unnest(%(uris)s::text[], %(fences)s::bigint[]) as held (uri, fence) on held.uri = i.uri and held.fence = i.fence
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'leased'
order by i.uri
for update of i

-- name: complete_items
-- Record the results of items, in the transaction that stores their documents, with the version of each document.
-- In: tenant, run_id, one array per column. Out: uri of each item that the worker still held.
update item i
set state = 'done', outcome = n.outcome, stage = n.stage, reason = n.reason, message = n.message, chunks = n.chunks,
    tokens = n.tokens, lease_until = null, version = d.version, content_hash = coalesce(d.content_hash, i.content_hash)
from unnest(
    %(uris)s::text[], %(fences)s::bigint[], %(outcomes)s::text[], %(stages)s::text[], %(reasons)s::text[],
    %(messages)s::text[], %(chunks)s::integer[], %(tokens)s::integer[]
) as n (uri, fence, outcome, stage, reason, message, chunks, tokens)
left join document d
    on d.tenant_id = %(tenant)s and d.uri = n.uri and n.outcome in ('added', 'changed', 'duplicate')
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = n.uri and i.fence = n.fence and i.state = 'leased'
returning i.uri

-- name: release_items
-- Release items for the next claim. If `failed`, an item that was alone gets a strike, and one that was not is tried alone
-- from now on. In: tenant, run_id, uris, fences, failed, stage, reason, message.
update item i
set state = 'waiting', lease_until = null,
    strikes = i.strikes + (%(failed)s and i.alone)::integer, alone = i.alone or %(failed)s,
    stage = %(stage)s, reason = %(reason)s, message = %(message)s
from unnest(%(uris)s::text[], %(fences)s::bigint[]) as n (uri, fence)
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = n.uri and i.fence = n.fence and i.state = 'leased'

-- name: record_stage
-- Record the stage that an isolated item reached, in case it stops its worker.
-- In: tenant, run_id, uri, fence, stage, content_hash.
update item set stage = %(stage)s, content_hash = %(content_hash)s
where tenant_id = %(tenant)s and run_id = %(run_id)s and uri = %(uri)s and fence = %(fence)s and state = 'leased'

-- name: release_worker
-- Release the leases that a worker still holds, and add its seconds by stage to those of the run.
-- In: tenant, run_id, worker, seconds.
with freed as (
    update item set state = 'waiting', lease_until = null
    where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'leased' and worker = %(worker)s
)
update run
set seconds = (
    select coalesce(jsonb_object_agg(stage, spent), jsonb_build_object())
    from (
        select stage, sum(spent::float8) as spent
        from (select * from jsonb_each_text(run.seconds) union all select * from jsonb_each_text(%(seconds)s)) s (stage, spent)
        group by stage
    ) total
)
where tenant_id = %(tenant)s and run_id = %(run_id)s
