-- name: reserve
-- Set aside what a call may use at most. In: reservation_id, request_id, team, key, model, purpose, tokens, cost, seconds
-- (after which it counts no longer).
insert into reservation (
    tenant_id, reservation_id, request_id, team, key, model, purpose, tokens, cost, expires_at
)
values (
    current_tenant(), %(reservation_id)s, %(request_id)s, %(team)s, %(key)s, %(model)s, %(purpose)s, %(tokens)s, %(cost)s,
    now() + make_interval(secs => %(seconds)s)
)

-- name: lock
-- Wait for one's turn: whoever else spends for the same tenant, team or key waits until this transaction ends. In a fixed
-- order, so that two never wait for each other. In: tenant, scopes, names (of the payer, side by side).
select from balance b
where b.tenant_id = %(tenant)s
and (b.scope, b.name) in (select scope, name from unnest(%(scopes)s::text[], %(names)s::text[]) as p (scope, name))
order by b.scope, b.name, b.per
for update

-- name: settle
-- Book what a call did use in place of what was set aside for it; once, however often it is tried. In: tenant, reservation_id, request_id, team, key, model,
-- purpose, input_tokens, output_tokens, cost, counted, outcome, tight.
with settled as (
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

-- name: open
-- Open the balances that a payer's budgets need and that are not there yet, with what was used since the minute, day or
-- month began; what is booked at this very instant may be left out. In: tenant, scopes, names (of the payer, side by side).
with payer as (
    select scope, name from unnest(%(scopes)s::text[], %(names)s::text[]) as p (scope, name)
),
wanted as (
    select distinct p.scope, p.name, b.per, date_trunc(b.per, now(), 'UTC') as began
    from payer p
    join budget b on b.tenant_id = %(tenant)s and b.scope = p.scope and b.name in (p.name, '*')
)
insert into balance (tenant_id, scope, name, per, since, tokens, cost)
select
    current_tenant(), w.scope, w.name, w.per, w.began,
    coalesce(sum(u.input_tokens + u.output_tokens), 0), coalesce(sum(u.cost), 0)
from wanted w
left join usage u on u.tenant_id = %(tenant)s and u.at >= w.began
    and case w.scope when 'team' then u.team = w.name when 'key' then u.key = w.name else true end
group by w.scope, w.name, w.per, w.began
order by w.scope, w.name, w.per
on conflict do nothing

-- name: book
-- Add to all balances of a payer; one whose minute, day or month is over begins anew. The payer's rows are locked.
-- In: tenant, scopes, names (of the payer, side by side), requests, tokens, cost.
with payer as (
    select scope, name from unnest(%(scopes)s::text[], %(names)s::text[]) as p (scope, name)
)
update balance b
set
    since = greatest(b.since, date_trunc(b.per, now(), 'UTC')),
    requests = case when b.since < date_trunc(b.per, now(), 'UTC') then 0 else b.requests end + %(requests)s,
    tokens = case when b.since < date_trunc(b.per, now(), 'UTC') then 0 else b.tokens end + %(tokens)s,
    cost = case when b.since < date_trunc(b.per, now(), 'UTC') then 0 else b.cost end + %(cost)s
from payer p
where b.tenant_id = %(tenant)s and (b.scope, b.name) = (p.scope, p.name)
