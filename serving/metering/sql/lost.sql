-- Calls whose process died before it said what they did use. In: tenant, since (a time, or NULL for all).
-- Out: one row: calls, and the tokens and cost that they can have used at most.
select count(*) as calls, coalesce(sum(tokens), 0)::bigint as tokens, coalesce(sum(cost), 0) as cost
from reservation
where tenant_id = %(tenant)s and expires_at <= now() and (%(since)s::timestamptz is null or expires_at >= %(since)s)
