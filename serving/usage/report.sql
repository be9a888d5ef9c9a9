-- name: usage
-- Usage by group. In: tenant, by (day, model, team, key or purpose), since (a time, or NULL).
-- Out: one row per group: name (a day is of UTC), calls, input_tokens, output_tokens, cost, and the
-- calls with our own token count (estimated), failed, cancelled, and above a soft limit (tight).
select
    case %(by)s
        when 'day' then to_char(u.at at time zone 'UTC', 'YYYY-MM-DD')
        when 'model' then u.model
        when 'team' then u.team
        when 'key' then u.key
        else u.purpose
    end as name,
    count(*) as calls,
    sum(u.input_tokens)::bigint as input_tokens,
    sum(u.output_tokens)::bigint as output_tokens,
    sum(u.cost) as cost,
    count(*) filter (where not u.counted) as estimated,
    count(*) filter (where u.outcome = 'failed') as failed,
    count(*) filter (where u.outcome = 'cancelled') as cancelled,
    count(*) filter (where u.tight) as tight
from usage u
where u.tenant_id = %(tenant)s and (%(since)s::timestamptz is null or u.at >= %(since)s)
group by 1
order by 1

-- name: unaccounted_usage
-- Calls whose process died before it recorded their usage. In: tenant, since (a time, or NULL).
-- Out: one row: calls, and the most tokens and cost that they can have used.
select count(*) as calls, coalesce(sum(tokens), 0)::bigint as tokens, coalesce(sum(cost), 0) as cost
from reservation
where tenant_id = %(tenant)s and expires_at <= now() and (%(since)s::timestamptz is null or expires_at >= %(since)s)
