-- Remove a budget. For a role that owns the tables; the application may not. In: tenant, scope, name, per, measure.
delete from budget
where tenant_id = %(tenant)s and (scope, name, per, measure) = (%(scope)s, %(name)s, %(per)s, %(measure)s)
