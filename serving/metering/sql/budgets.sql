-- The budgets of a tenant. In: tenant. Out: scope, name, per, measure, soft, hard.
select scope, name, per, measure, soft, hard from budget
where tenant_id = %(tenant)s
order by scope desc, name, measure, per
