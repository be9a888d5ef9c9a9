-- The ledger in full: what a run has to do, file by file, and which worker has it just now. Any number of workers share a
-- run; a lease that is not renewed passes to another, and the fence keeps the first from storing what it still holds.

-- `number` is the order in which runs began: of two runs over the same source the later one is right. `sources` says how
-- to open them again (address, readers, include, exclude), `uris` what each covers.
alter table run
    drop constraint run_state_check,
    add constraint run_state_check
    check (state in ('planning', 'running', 'finished', 'failed', 'superseded')),
    add column number bigint not null generated always as identity,
    add column sources jsonb not null default '[]',
    add column uris text[] not null default '{}',
    add column pipeline_hash text not null default '',
    add column settled jsonb not null default '{}',
    add column chunks bigint not null default 0,
    add column tokens bigint not null default 0,
    add column message text not null default '',
    add column heartbeat_at timestamptz not null default now();

create index on run (tenant_id, number);

-- One file of one run. `source` is its place in run.sources. `attempt` counts how often it was claimed, `strikes` how
-- often that failed, or was never heard of again, while the file was `alone`, so that the fault can only be its own.
create table item (
    tenant_id text not null,
    run_id uuid not null,
    uri text not null,
    action text not null check (action in ('take in', 'delete')),
    source integer not null,
    path text not null,
    readers text[] not null,
    size bigint,
    tag text,
    state text not null default 'waiting' check (state in ('waiting', 'leased', 'done', 'superseded')),
    outcome text not null default '',
    content_hash text not null default '',
    stage text not null default '',
    alone boolean not null default false,
    attempt integer not null default 0,
    strikes integer not null default 0,
    fence bigint not null default 0,
    worker text not null default '',
    lease_until timestamptz,
    reason text not null default '',
    message text not null default '',
    chunks integer not null default 0,
    tokens integer not null default 0,
    primary key (tenant_id, run_id, uri),
    foreign key (tenant_id, run_id) references run on delete cascade
);

-- What is left to do. Small, whatever the history holds.
create index item_open on item (tenant_id, run_id, action desc, alone, uri) where state in ('waiting', 'leased');

-- The state of the file when it was last looked at, as its source tells it without reading (an ETag, a time and a size).
alter table document add column source_tag text;
alter table quarantine add column source_tag text;

alter table item enable row level security, force row level security;
create policy writer_works on item to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
grant select, insert, update, delete on item to groundwork_writer;

-- Statistics are counted when a transaction commits, not when it first touches a table: the row of a set of readers is
-- locked for an instant then, and several workers store at once. Until then each statement notes here what it changed.
create table statistics_change (
    tenant_id text not null,
    change_id bigint not null generated always as identity,
    reader_set_id integer not null,
    documents bigint not null default 0,
    chunks bigint not null default 0,
    terms bigint not null default 0,
    primary key (tenant_id, change_id)
);

alter table statistics_change enable row level security, force row level security;
create policy writer_works on statistics_change to groundwork_writer, current_user
using (tenant_id = (select current_tenant()));
grant select, insert, update, delete on statistics_change to groundwork_writer;
grant usage on all sequences in schema groundwork to groundwork_writer;

-- The first change that is looked at takes all of the transaction with it, in the order of reader sets, so that two
-- transactions never wait for each other. A transaction sees no other's changes: they are gone before they are committed.
create function apply_statistics() returns trigger language plpgsql as $$
declare
    change record;
begin
    for change in
        with taken as (
            delete from statistics_change where tenant_id = new.tenant_id returning *
        )
        select reader_set_id, sum(documents) as documents, sum(chunks) as chunks, sum(terms) as terms
        from taken group by reader_set_id order by reader_set_id
    loop
        update reader_set r
        set document_count = r.document_count + change.documents, chunk_count = r.chunk_count + change.chunks,
            term_count = r.term_count + change.terms, epoch = r.epoch + 1
        where r.tenant_id = new.tenant_id and r.reader_set_id = change.reader_set_id;
    end loop;
    return null;
end
$$;

create constraint trigger apply after insert on statistics_change
deferrable initially deferred for each row execute function apply_statistics();

create or replace function count_documents() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        insert into statistics_change (tenant_id, reader_set_id, documents)
        select tenant_id, reader_set_id, -count(*) from removed_document group by tenant_id, reader_set_id;
    end if;
    if tg_op <> 'DELETE' then
        insert into statistics_change (tenant_id, reader_set_id, documents)
        select tenant_id, reader_set_id, count(*) from added_document group by tenant_id, reader_set_id;
    end if;
    return null;
end
$$;

create or replace function count_added_chunks() returns trigger language plpgsql as $$
begin
    insert into statistics_change (tenant_id, reader_set_id, chunks, terms)
    select tenant_id, reader_set_id, count(*), sum(term_count) from added_chunk group by tenant_id, reader_set_id;
    return null;
end
$$;

-- `offset 0` keeps the terms together, so that each posting is found by its whole key; else the planner, which doesn't know
-- how many chunks were removed, may skip through every term for each of them.
create or replace function forget_removed_chunks() returns trigger language plpgsql as $$
begin
    delete from posting p
    using (
        select c.tenant_id, c.chunk_id, t.term from removed_chunk c, unnest(c.terms) as t (term) offset 0
    ) removed
    where p.tenant_id = removed.tenant_id and p.term = removed.term and p.chunk_id = removed.chunk_id;
    insert into statistics_change (tenant_id, reader_set_id, chunks, terms)
    select tenant_id, reader_set_id, -count(*), -sum(term_count) from removed_chunk group by tenant_id, reader_set_id;
    return null;
end
$$;

-- Sentences may be kept without vectors (GROUNDWORK_SENTENCE_VECTORS=off).
do $$
declare
    sentences regclass;
begin
    for sentences in select to_regclass('sentence_' || index_version_id) from index_version
    loop
        execute format('alter table %s alter column embedding drop not null', sentences);
    end loop;
end
$$;
