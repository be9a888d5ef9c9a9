-- Conversations: the questions of a user, so that a follow-up question can be understood.
-- The policies compare the owner with the owner of the transaction. So a colleague in the same tenant sees nothing,
-- and neither does a transaction without an owner. `owner` is Principal.usage_key, a hash, not a name.

-- One conversation of one owner, until it expires.
create table conversation (
    tenant_id text not null,
    conversation_id uuid not null,
    owner text not null,
    began_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (tenant_id, conversation_id)
);

create index on conversation (tenant_id, expires_at);

-- One question: as the user wrote it (`question`), as it was searched (`asked_as`), and the documents that the answer
-- cited. No sentence of an answer and no quote is stored, so nothing here outlives a document: titles are read from
-- documents that still exist and are visible. `leans_on` is the document whose title is part of `asked_as`; without
-- that document, `asked_as` is not shown either.
create table turn (
    tenant_id text not null,
    conversation_id uuid not null,
    number integer not null,
    owner text not null,
    question text not null,
    asked_as text not null,
    answered boolean not null,
    documents uuid[] not null,
    leans_on uuid,
    at timestamptz not null default now(),
    primary key (tenant_id, conversation_id, number),
    foreign key (tenant_id, conversation_id) references conversation on delete cascade
);

alter table conversation enable row level security, force row level security;
alter table turn enable row level security, force row level security;

-- A reader sees the conversations of its owner that have not expired.
create policy reader_sees on conversation for select to groundwork_reader
using (tenant_id = (select current_tenant()) and owner = (select current_owner()) and expires_at > now());
create policy reader_sees on turn for select to groundwork_reader
using (tenant_id = (select current_tenant()) and owner = (select current_owner()));

-- A writer changes the conversations of its owner, and may delete expired ones of any owner (the sweep does).
create policy writer_works on conversation to groundwork_writer, current_user
using (tenant_id = (select current_tenant()) and (owner = (select current_owner()) or expires_at <= now()))
with check (tenant_id = (select current_tenant()) and owner = (select current_owner()));
create policy writer_works on turn to groundwork_writer, current_user
using (tenant_id = (select current_tenant()) and owner = (select current_owner()));

grant select on conversation, turn to groundwork_reader;
grant select, insert, update, delete on conversation to groundwork_writer;
grant select, insert, delete on turn to groundwork_writer;
