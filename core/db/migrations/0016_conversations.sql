-- What was asked, so that a follow-up question can be understood. A conversation is its owner's alone: the policies compare
-- with the owner that the transaction names, so a colleague of the same tenant sees nothing of it, nor does a transaction
-- that names nobody. `owner` is Principal.key, not a name.
create function current_owner() returns text
language sql stable parallel safe
return nullif(current_setting('groundwork.owner', true), '');

create table conversation (
    tenant_id text not null,
    conversation_id uuid not null,
    owner text not null,
    began_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (tenant_id, conversation_id)
);

create index on conversation (tenant_id, expires_at);

-- A question as it was put and as it was asked, and the documents that the answer cited. No sentence of an answer and no
-- quote is kept, so nothing here outlives a document: titles are read from the documents that are still there and may be
-- seen. `leans_on` is the document whose title went into `asked_as`; without that document `asked_as` is not shown either.
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

create policy reader_sees on conversation for select to groundwork_reader
using (tenant_id = (select current_tenant()) and owner = (select current_owner()) and expires_at > now());
create policy reader_sees on turn for select to groundwork_reader
using (tenant_id = (select current_tenant()) and owner = (select current_owner()));

-- Beside its owner only the sweep gets to a conversation, and only once it has expired.
create policy writer_works on conversation to groundwork_writer, current_user
using (tenant_id = (select current_tenant()) and (owner = (select current_owner()) or expires_at <= now()))
with check (tenant_id = (select current_tenant()) and owner = (select current_owner()));
create policy writer_works on turn to groundwork_writer, current_user
using (tenant_id = (select current_tenant()) and owner = (select current_owner()));

grant select on conversation, turn to groundwork_reader;
grant select, insert, update, delete on conversation to groundwork_writer;
grant select, insert, delete on turn to groundwork_writer;
