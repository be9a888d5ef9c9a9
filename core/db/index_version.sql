-- name: create_index_version
-- The two vector tables of one index version: a vector for each chunk, and one for each sentence of it.
-- In: {vectors}, {sentences} (table names), {dimension}. Sentence vectors need no index: they score candidates
-- only; they are NULL where GROUNDWORK_SENTENCE_VECTORS is off. `words` are the numbers of the terms of a sentence and of
-- the headings above it (core/text/terms.py).
create table {vectors} (
    tenant_id text not null,
    chunk_id bigint not null,
    reader_set_id integer not null,
    embedding halfvec({dimension}) not null,
    primary key (tenant_id, chunk_id),
    foreign key (tenant_id, chunk_id) references chunk on delete cascade
) partition by list (tenant_id);

create table {shared} partition of {vectors} default;

create index on {vectors} using hnsw (embedding halfvec_cosine_ops) with (m = 24, ef_construction = 128);

create table {sentences} (
    tenant_id text not null,
    chunk_id bigint not null,
    ordinal integer not null,
    reader_set_id integer not null,
    start_char integer not null,
    end_char integer not null,
    embedding halfvec({dimension}),
    words integer[] not null default '{{}}',
    primary key (tenant_id, chunk_id, ordinal),
    foreign key (tenant_id, chunk_id) references chunk on delete cascade
);

alter table {vectors} enable row level security, force row level security;
alter table {shared} enable row level security, force row level security;
alter table {sentences} enable row level security, force row level security;

create policy reader_sees on {vectors} for select to groundwork_reader
using (tenant_id = (select current_tenant()) and reader_set_id = any (array(select r.reader_set_id from reader_set r)));
create policy reader_sees on {sentences} for select to groundwork_reader
using (tenant_id = (select current_tenant()) and reader_set_id = any (array(select r.reader_set_id from reader_set r)));
create policy writer_works on {vectors} to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on {sentences} to groundwork_writer, current_user using (tenant_id = (select current_tenant()));

grant select on {vectors}, {sentences} to groundwork_reader;
grant select, insert, update, delete on {vectors}, {sentences} to groundwork_writer;
