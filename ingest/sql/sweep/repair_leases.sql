-- Free what a worker did not renew; tried alone the next time, and counted if it was alone. In: tenant. Out: how many.
with freed as (
    update item set state = 'waiting', alone = true, strikes = strikes + alone::integer, lease_until = null
    where tenant_id = %(tenant)s and state = 'leased' and lease_until < now()
    returning 1
)
select count(*) from freed
