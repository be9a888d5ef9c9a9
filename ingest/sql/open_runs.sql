-- The runs of a tenant that workers can join, oldest first. In: tenant. Out: run_id.
select run_id from run where tenant_id = %(tenant)s and state = 'running' order by number
