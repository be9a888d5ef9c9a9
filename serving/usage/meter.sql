-- name: reserve
-- Reserve the most that a call may use.
-- In: reservation_id, request_id, team, key, model, purpose, tokens, cost, seconds (to its expiry).
insert into reservation (
    tenant_id, reservation_id, request_id, team, key, model, purpose, tokens, cost, expires_at
)
values (
    current_tenant(), %(reservation_id)s, %(request_id)s, %(team)s, %(key)s, %(model)s, %(purpose)s, %(tokens)s, %(cost)s,
    now() + make_interval(secs => %(seconds)s)
)

-- name: lock_balances
-- Lock the balances of a subject, so that other spenders wait. The fixed order prevents deadlocks.
-- In: tenant, scopes, names (of the subject, as pairs).
select from balance b
where b.tenant_id = %(tenant)s
and (b.scope, b.name) in (select scope, name from unnest(%(scopes)s::text[], %(names)s::text[]) as p (scope, name))
order by b.scope, b.name, b.per
for update

-- name: commit_usage
-- Replace the reservation of a call by its usage; a repetition changes nothing. In: tenant,
-- reservation_id, request_id, team, key, model, purpose, input_tokens, output_tokens, cost,
-- counted, outcome, tight.
with released as (
    delete from reservation where tenant_id = %(tenant)s and reservation_id = %(reservation_id)s
)
insert into usage (
    tenant_id, usage_id, request_id, team, key, model, purpose, input_tokens, output_tokens, cost, counted, outcome, tight
)
values (
    current_tenant(), %(reservation_id)s, %(request_id)s, %(team)s, %(key)s, %(model)s, %(purpose)s, %(input_tokens)s,
    %(output_tokens)s, %(cost)s, %(counted)s, %(outcome)s, %(tight)s
)
on conflict (tenant_id, usage_id) do nothing

-- name: open_balances
-- Create the missing balances of a subject's budgets, with the usage since the minute, day or month
-- began. Usage recorded at the same moment may be missing.
-- In: tenant, scopes, names (of the subject, as pairs).
with subject as (
    select scope, name from unnest(%(scopes)s::text[], %(names)s::text[]) as p (scope, name)
),
missing_balances as (
    select distinct p.scope, p.name, b.per, date_trunc(b.per, now(), 'UTC') as began
    from subject p
    join budget b on b.tenant_id = %(tenant)s and b.scope = p.scope and b.name in (p.name, '*')
)
insert into balance (tenant_id, scope, name, per, since, tokens, cost)
select
    current_tenant(), w.scope, w.name, w.per, w.began,
    coalesce(sum(u.input_tokens + u.output_tokens), 0), coalesce(sum(u.cost), 0)
from missing_balances w
left join usage u on u.tenant_id = %(tenant)s and u.at >= w.began
    and case w.scope when 'team' then u.team = w.name when 'key' then u.key = w.name else true end
group by w.scope, w.name, w.per, w.began
order by w.scope, w.name, w.per
on conflict do nothing

-- name: add_to_balances
-- Add to all balances of a subject, locked before; one whose period is over starts at 0.
-- In: tenant, scopes, names (of the subject, as pairs), requests, tokens, cost.
with subject as (
    select scope, name from unnest(%(scopes)s::text[], %(names)s::text[]) as p (scope, name)
)
update balance b
set
    since = greatest(b.since, date_trunc(b.per, now(), 'UTC')),
    requests = case when b.since < date_trunc(b.per, now(), 'UTC') then 0 else b.requests end + %(requests)s,
    tokens = case when b.since < date_trunc(b.per, now(), 'UTC') then 0 else b.tokens end + %(tokens)s,
    cost = case when b.since < date_trunc(b.per, now(), 'UTC') then 0 else b.cost end + %(cost)s
from subject p
where b.tenant_id = %(tenant)s and (b.scope, b.name) = (p.scope, p.name)
