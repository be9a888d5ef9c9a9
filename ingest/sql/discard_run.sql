-- Forget a run that had nothing to do, or could not find out what. In: tenant, run_id.
delete from run where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'planning'
