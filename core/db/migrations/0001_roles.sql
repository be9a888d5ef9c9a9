-- Roles: who may do what, before there is anything to do it to.
-- groundwork_app logs in and has no rights of its own; each transaction takes on one of the two others:
-- groundwork_reader (sees what its tenant and groups allow) or groundwork_writer (writes for one tenant).
-- Roles belong to the whole server, so another database of it may have made them already.
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

grant groundwork_reader, groundwork_writer to groundwork_app with inherit false, set true;

create extension if not exists vector schema public;

revoke create on schema public from public;
revoke all on schema groundwork from public;
grant usage on schema groundwork to groundwork_app, groundwork_reader, groundwork_writer;
