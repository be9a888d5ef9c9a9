-- Index versions: one row for each embedding model, at a revision, with a dimension. Each version has its own vector
-- tables (core/db/index_version.sql). The live version is a row here, so a switch is one update.
-- The table has no data of a tenant, hence no tenant_id and no policy. The application may only read it.
create table index_version (
    index_version_id integer primary key generated always as identity,
    model text not null,
    revision text not null,
    dimension integer not null check (dimension between 1 and 4000),
    live boolean not null,
    created_at timestamptz not null default now()
);

create unique index one_live on index_version (live) where live;

grant select on index_version, schema_migration to groundwork_app, groundwork_reader, groundwork_writer;
