-- The ledger of ingest runs: which files a run has to process, which worker has a file, and which files failed.
-- A finished document needs no row here: its own row holds the hashes that make a repetition unnecessary.
--
-- Any number of workers share a run. A lease that is not renewed passes to another worker; the fence then keeps the
-- first worker from storing its result.

-- One run over one or more sources.
create table run (
    tenant_id text not null,
    run_id uuid not null,
    kind text not null,
    source text not null,
    state text not null check (state in ('planning', 'running', 'finished', 'failed', 'superseded')),
    counts jsonb not null default '{}',
    seconds jsonb not null default '{}',
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    -- Order in which runs began. Of two runs over one source, the later one is right.
    number bigint not null generated always as identity,
    -- How to open the sources again: address, readers, include, exclude.
    sources jsonb not null default '[]',
    -- URI prefixes that the sources cover.
    uris text[] not null default '{}',
    pipeline_hash text not null default '',
    settled jsonb not null default '{}',
    chunks bigint not null default 0,
    tokens bigint not null default 0,
    message text not null default '',
    heartbeat_at timestamptz not null default now(),
    primary key (tenant_id, run_id)
);

create index on run (tenant_id, number);

-- One file of one run. `source` is an index into run.sources. `attempt` counts claims. `strikes` counts the claims that
-- failed or were lost while the file was processed `alone`, so that the fault can only be its own.
-- `version` is the version of the document that the run wrote, so the items are the history of every document.
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
    version integer,
    primary key (tenant_id, run_id, uri),
    foreign key (tenant_id, run_id) references run on delete cascade
);

-- Open items only, so the index stays small however long the history is.
create index item_open on item (tenant_id, run_id, action desc, alone, uri) where state in ('waiting', 'leased');

-- A file that could not become a document, with the reason, until the file changes or disappears.
create table quarantine (
    tenant_id text not null,
    uri text not null,
    path text not null,
    content_hash text not null,
    pipeline_hash text not null,
    stage text not null,
    reason text not null,
    message text not null,
    attempts integer not null,
    run_id uuid not null,
    quarantined_at timestamptz not null default now(),
    source_tag text,
    primary key (tenant_id, uri)
);

-- A deleted document: its identity and the time of deletion.
create table tombstone (
    tenant_id text not null,
    document_id uuid not null,
    uri text not null,
    version integer not null,
    run_id uuid not null,
    deleted_at timestamptz not null default now(),
    primary key (tenant_id, document_id)
);

alter table run enable row level security, force row level security;
alter table item enable row level security, force row level security;
alter table quarantine enable row level security, force row level security;
alter table tombstone enable row level security, force row level security;

-- A writer sees and changes all rows of its tenant. Readers have no access.
create policy writer_works on run to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on item to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on quarantine to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on tombstone to groundwork_writer, current_user using (tenant_id = (select current_tenant()));

grant select, insert, update, delete on run, item, quarantine, tombstone to groundwork_writer;

-- Identity columns of all tables so far.
grant usage on all sequences in schema groundwork to groundwork_writer;
