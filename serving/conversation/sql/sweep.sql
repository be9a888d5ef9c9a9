-- The expired conversations of the tenant's go, whoever's they were.
with gone as (
    delete from conversation where tenant_id = %(tenant)s and expires_at <= now() returning 1
)
select count(*) from gone
