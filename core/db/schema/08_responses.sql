-- The answer cache.

-- An answer under its key: a hash of tenant, groups, question, filter, search mode and release. It is valid only while
-- `epoch` equals the epoch of the documents that the caller may see, so every change of a document invalidates it in
-- the same transaction. `context` is the key without the question. `question` is the vector of the question, for the
-- reuse of answers to similar questions. The words of a question are not stored.
create table response (
    tenant_id text not null,
    key text not null,
    context text not null,
    groups text[] not null,
    epoch text not null,
    question halfvec,
    answer text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, key)
);

create index on response (tenant_id, created_at);

alter table response enable row level security, force row level security;

-- A reader sees only answers for exactly its own set of groups.
create policy reader_sees on response for select to groundwork_reader
using (tenant_id = (select current_tenant()) and groups = (select current_groups()));

-- A writer sees and changes all rows of its tenant.
create policy writer_works on response to groundwork_writer, current_user
using (tenant_id = (select current_tenant()));

grant select on response to groundwork_reader;
grant select, insert, update, delete on response to groundwork_writer;

-- Delete the answers for all callers who may read a changed reader set. A row that another transaction is writing is
-- skipped: its epoch is outdated in any case, and its age removes it later.
create function forget_responses() returns trigger language plpgsql as $$
begin
    delete from response p
    using (
        select tenant_id, key from response
        where tenant_id = new.tenant_id and (new.readers = '{}' or groups && new.readers)
        for update skip locked
    ) outdated
    where p.tenant_id = outdated.tenant_id and p.key = outdated.key;
    return null;
end
$$;

create trigger forget_responses after update of epoch on reader_set
for each row when (old.epoch is distinct from new.epoch) execute function forget_responses();
