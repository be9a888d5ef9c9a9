-- Recorded usage of a tenant, apart for calls with a reported and with an estimated usage.
-- In: tenant. Out: counted, calls, read, wrote, cost.
select
    counted, count(*) as calls, sum(input_tokens)::bigint as read, sum(output_tokens)::bigint as wrote, sum(cost) as cost
from usage
where tenant_id = %(tenant)s
group by counted
