-- Roles and privileges, and the functions that read the context of a transaction.
--
-- groundwork_app logs in and has no privileges of its own. Each transaction switches to one of two roles:
-- groundwork_reader sees the rows of one tenant that its groups allow; groundwork_writer writes for one tenant.

-- Roles belong to the whole server, so another database may have created them already.
do $$
begin
    if to_regrole('groundwork_reader') is null then
        create role groundwork_reader nologin;
    end if;
    if to_regrole('groundwork_writer') is null then
        create role groundwork_writer nologin;
    end if;
    if to_regrole('groundwork_app') is null then
        create role groundwork_app login noinherit nosuperuser nocreatedb nocreaterole nobypassrls;
    end if;
end
$$;

-- The application may switch to the two roles, but does not inherit their privileges.
grant groundwork_reader, groundwork_writer to groundwork_app with inherit false, set true;

create extension if not exists vector schema public;

-- Only the owner creates tables. Only the three roles see the schema.
revoke create on schema public from public;
revoke all on schema groundwork from public;
grant usage on schema groundwork to groundwork_app, groundwork_reader, groundwork_writer;

-- The tenant of the transaction. NULL without one, so that no row is visible.
create function current_tenant() returns text
language sql stable parallel safe
return nullif(current_setting('groundwork.tenant', true), '');

-- The groups of the transaction, an empty array without any.
create function current_groups() returns text[]
language sql stable parallel safe
return coalesce(string_to_array(nullif(current_setting('groundwork.groups', true), ''), E'\x1f'), '{}');

-- The owner of conversations in this transaction. NULL without one, so that no conversation is visible.
create function current_owner() returns text
language sql stable parallel safe
return nullif(current_setting('groundwork.owner', true), '');
