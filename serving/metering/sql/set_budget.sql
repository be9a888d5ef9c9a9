-- Set a budget, or change its limits. For a role that owns the tables; the application may not.
-- In: scope, name, per, measure, soft, hard.
insert into budget (tenant_id, scope, name, per, measure, soft, hard)
values (current_tenant(), %(scope)s, %(name)s, %(per)s, %(measure)s, %(soft)s, %(hard)s)
on conflict (tenant_id, scope, name, per, measure) do update set soft = excluded.soft, hard = excluded.hard
