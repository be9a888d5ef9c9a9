-- name: budget_statuses
-- Status of each budget that applies to a subject: its own, or the wildcard ('*') if it has none.
-- In: tenant, scopes, names (of the subject, as pairs). Out: one row per budget: scope, name, per,
-- measure, soft, hard; `spent` in its minute, day or month and `held` by running calls, both in its
-- measure; `resets_at` and the `seconds_left` until then; `has_balance`. The tenant's come first,
-- then the team's.
with subject as (
    select scope, name from unnest(%(scopes)s::text[], %(names)s::text[]) as p (scope, name)
),
applicable as (
    select distinct on (b.scope, b.per, b.measure)
        b.scope, p.name, b.per, b.measure, b.soft, b.hard, date_trunc(b.per, now(), 'UTC') as began
    from subject p
    join budget b on b.tenant_id = %(tenant)s and b.scope = p.scope and b.name in (p.name, '*')
    order by b.scope, b.per, b.measure, b.name = '*'
),
ending as (
    select *, (began at time zone 'UTC' + ('1 ' || per)::interval) at time zone 'UTC' as resets_at from applicable
)
select
    a.scope, a.name, a.per, a.measure, a.soft, a.hard, a.resets_at, u.scope is not null as has_balance,
    extract(epoch from a.resets_at - now())::float8 as seconds_left,
    case
        when u.since is null or u.since < a.began then 0
        else case a.measure when 'requests' then u.requests when 'tokens' then u.tokens else u.cost end
    end as spent,
    case a.measure when 'requests' then 0 when 'tokens' then h.tokens else h.cost end as held
from ending a
left join balance u on u.tenant_id = %(tenant)s and (u.scope, u.name, u.per) = (a.scope, a.name, a.per)
cross join lateral (
    select coalesce(sum(r.tokens), 0) as tokens, coalesce(sum(r.cost), 0) as cost
    from reservation r
    where r.tenant_id = %(tenant)s and r.expires_at > now()
    and case a.scope when 'team' then r.team = a.name when 'key' then r.key = a.name else true end
) h
order by a.scope desc, a.per, a.measure

-- name: budgets
-- The budgets of a tenant. In: tenant. Out: scope, name, per, measure, soft, hard.
select scope, name, per, measure, soft, hard from budget
where tenant_id = %(tenant)s
order by scope desc, name, measure, per

-- name: set_budget
-- Set a budget, or change its limits. For a role that owns the tables; the application may not.
-- In: scope, name, per, measure, soft, hard.
insert into budget (tenant_id, scope, name, per, measure, soft, hard)
values (current_tenant(), %(scope)s, %(name)s, %(per)s, %(measure)s, %(soft)s, %(hard)s)
on conflict (tenant_id, scope, name, per, measure) do update set soft = excluded.soft, hard = excluded.hard

-- name: remove_budget
-- Remove a budget. For a role that owns the tables; the application may not.
-- In: tenant, scope, name, per, measure.
delete from budget
where tenant_id = %(tenant)s and (scope, name, per, measure) = (%(scope)s, %(name)s, %(per)s, %(measure)s)
