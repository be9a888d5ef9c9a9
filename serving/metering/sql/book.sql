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
