-- name: live_index_version
-- The index version that searches use now. Out: index_version_id, model, revision, dimension.
select index_version_id, model, revision, dimension from index_version where live

-- name: insert_index_version
-- Register an index version. In: model, revision, dimension, live. Out: index_version_id.
insert into index_version (model, revision, dimension, live) values (%s, %s, %s, %s)
returning index_version_id

-- name: create_vector_tables
-- Create the two vector tables of an index version. In: {vectors}, {shared}, {sentences} (table names), {dimension}.

-- One vector for each chunk, partitioned by tenant: a large tenant may have a partition, and so a vector index, of its
-- own (core/db/partitions.py); all others use the shared one. Queries go through the parent table and its policies:
-- no role has privileges on a partition.
create table {vectors} (
    tenant_id text not null,
    chunk_id bigint not null,
    reader_set_id integer not null,
    embedding halfvec({dimension}) not null,
    primary key (tenant_id, chunk_id),
    foreign key (tenant_id, chunk_id) references chunk on delete cascade
) partition by list (tenant_id);

create table {shared} partition of {vectors} default;

-- m is 24 instead of pgvector's 16, ef_construction 128 instead of 64: with the defaults, a search among 500,000
-- vectors missed a tenth of the ten nearest, even with a long candidate list.
create index on {vectors} using hnsw (embedding halfvec_cosine_ops) with (m = 24, ef_construction = 128);

-- One row for each sentence of a chunk. Its vector only scores candidates, so it needs no index; it is NULL if
-- GROUNDWORK_SENTENCE_VECTORS is off. `words` are the hashed terms of the sentence and of the headings above it
-- (core/text/terms.py).
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

-- A reader sees the rows of the reader sets that it sees (schema/02_documents.sql).
create policy reader_sees on {vectors} for select to groundwork_reader
using (tenant_id = (select current_tenant()) and reader_set_id = any (array(select r.reader_set_id from reader_set r)));
create policy reader_sees on {sentences} for select to groundwork_reader
using (tenant_id = (select current_tenant()) and reader_set_id = any (array(select r.reader_set_id from reader_set r)));

-- A writer sees and changes all rows of its tenant.
create policy writer_works on {vectors} to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on {sentences} to groundwork_writer, current_user using (tenant_id = (select current_tenant()));

grant select on {vectors}, {sentences} to groundwork_reader;
grant select, insert, update, delete on {vectors}, {sentences} to groundwork_writer;
