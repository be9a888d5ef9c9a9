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
