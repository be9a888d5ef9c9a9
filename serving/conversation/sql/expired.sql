-- How many conversations of the tenant's have expired.
select count(*) from conversation where tenant_id = %(tenant)s and expires_at <= now()
