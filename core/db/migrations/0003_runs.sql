-- The ledger: what was tried, when, and what could not be taken in. What was taken in says so itself: a document's
-- row holds the hashes that make a repeat unnecessary, written in the transaction that wrote its chunks.

create table run (
    tenant_id text not null,
    run_id uuid not null,
    kind text not null,
    source text not null,
    state text not null check (state in ('running', 'finished', 'failed')),
    counts jsonb not null default '{}',
    seconds jsonb not null default '{}',
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, run_id)
);

-- A file that could not become a document, with the reason, until it changes or disappears.
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
    primary key (tenant_id, uri)
);

-- A document that was deleted: what it was, and when.
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
alter table quarantine enable row level security, force row level security;
alter table tombstone enable row level security, force row level security;

create policy writer_works on run to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on quarantine to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on tombstone to groundwork_writer, current_user using (tenant_id = (select current_tenant()));

grant select, insert, update, delete on run, quarantine, tombstone to groundwork_writer;
