-- name: readiness
-- Check that the database is ready. Out: one row, `extension` and `schema` as booleans.
select
    exists (select from pg_extension where extname = 'vector') as extension,
    to_regclass('groundwork.index_version') is not null as schema

-- name: isolation
-- Everything that could let the connected role see other tenants. Out: one row.
-- role, superuser, bypasses: the role and its powers, including those of roles it is a member of.
-- owned: tables that it owns.
-- open_tables: tables with tenant_id where row-level security is not enabled and forced, and views that read such
-- tables with the privileges of their owner.
-- direct: tables with tenant_id of which the role may read a column without switching to a reader or writer role.
select
    current_user::text as role,
    (select bool_or(r.rolsuper) from pg_roles r where pg_has_role(current_user, r.oid, 'member')) as superuser,
    (select bool_or(r.rolbypassrls) from pg_roles r where pg_has_role(current_user, r.oid, 'member')) as bypasses,
    array_agg(t.name) filter (where t.owned) as owned,
    array_agg(t.name) filter (where not t.guarded) as open_tables,
    array_agg(t.name) filter (where t.direct) as direct
from (
    select
        c.relname::text as name,
        pg_has_role(current_user, c.relowner, 'member') as owned,
        case
            when c.relkind = 'v' then coalesce(c.reloptions && '{security_invoker=true,security_invoker=on}', false)
            else c.relrowsecurity and c.relforcerowsecurity
        end as guarded,
        has_any_column_privilege(current_user, c.oid, 'select') as direct
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
    where c.relnamespace = 'groundwork'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
) t
