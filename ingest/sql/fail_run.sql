-- A worker gives up on a run: it has failed, unless others are still at it. In: tenant, run_id, message.
with did as (
    select outcome, count(*) as files, sum(chunks) as chunks, sum(tokens) as tokens
    from item where tenant_id = %(tenant)s and run_id = %(run_id)s and outcome <> ''
    group by outcome
)
update run r
set state = 'failed', finished_at = now(), message = %(message)s,
    chunks = coalesce((select sum(chunks) from did), 0), tokens = coalesce((select sum(tokens) from did), 0),
    counts = coalesce((select jsonb_object_agg(outcome, files) from did), '{}')
where r.tenant_id = %(tenant)s and r.run_id = %(run_id)s and r.state in ('planning', 'running')
and not exists (
    select from item i
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'leased' and i.lease_until > now()
)
