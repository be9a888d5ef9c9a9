-- What is booked for a tenant, apart for calls whose provider counted and for those that we had to count ourselves.
-- In: tenant. Out: counted, calls, read, wrote, cost.
select
    counted, count(*) as calls, sum(input_tokens)::bigint as read, sum(output_tokens)::bigint as wrote, sum(cost) as cost
from usage
where tenant_id = %(tenant)s
group by counted
