-- Wait for one's turn: whoever else spends for the same tenant, team or key waits until this transaction ends. In a fixed
-- order, so that two never wait for each other. In: tenant, scopes, names (of the payer, side by side).
select from balance b
where b.tenant_id = %(tenant)s
and (b.scope, b.name) in (select scope, name from unnest(%(scopes)s::text[], %(names)s::text[]) as p (scope, name))
order by b.scope, b.name, b.per
for update
