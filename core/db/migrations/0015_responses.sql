-- Answers that were given, kept to be given again. A row is found only under the same `key` (tenant, groups, question,
-- filter, legs of the search, release) and only while `epoch` is what the asker's documents are at, so whatever changes in
-- them makes it worthless in the same transaction. `context` is the key without the question, and `question` the
-- question's vector, for those who let a like question do. The words of a question are kept nowhere.
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

-- A reader sees what was answered to the very same set of groups.
create policy reader_sees on response for select to groundwork_reader
using (tenant_id = (select current_tenant()) and groups = (select current_groups()));
create policy writer_works on response to groundwork_writer, current_user
using (tenant_id = (select current_tenant()));

grant select on response to groundwork_reader;
grant select, insert, update, delete on response to groundwork_writer;

-- What can no longer be found is not kept either: the answers of everybody who could read a set of documents go with the
-- change to it. One that another transaction is just writing is left to that, or to its age; its epoch is past in any case.
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
