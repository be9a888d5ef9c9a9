-- In: tenant. Out: how many leases ran out.
select count(*) from item where tenant_id = %(tenant)s and state = 'leased' and lease_until < now()
