-- Documents and the groups that may read them.
--
-- Rules for every table with data of a tenant: tenant_id is the first column of every key, and row-level security
-- is enabled and forced, so that it also binds the owner of the table.

-- One row for each distinct set of groups of a tenant. An empty set means everyone in the tenant.
-- It holds the statistics that BM25 needs, so that scores depend only on documents that the reader may see.
-- `epoch` grows with every change of the documents; caches use it as part of their key.
create table reader_set (
    tenant_id text not null,
    reader_set_id integer not null generated always as identity,
    readers text[] not null,
    document_count bigint not null default 0,
    chunk_count bigint not null default 0,
    term_count bigint not null default 0,
    epoch bigint not null default 0,
    primary key (tenant_id, reader_set_id),
    unique (tenant_id, readers)
);

-- A document. A file with the same content as a stored one becomes a row that points to it with `same_as` and has no
-- text, chunks, vectors or postings of its own.
create table document (
    tenant_id text not null,
    document_id uuid not null,
    reader_set_id integer not null,
    uri text not null,
    path text not null,
    title text not null,
    media_type text not null,
    version integer not null,
    content_hash text not null,
    pipeline_hash text not null,
    text text not null,
    blocks jsonb not null,
    metadata jsonb not null,
    run_id uuid not null,
    ingested_at timestamptz not null default now(),
    -- State of the file as its source reports it without reading it: an ETag, or a time and a size.
    source_tag text,
    same_as uuid,
    -- The document that has the chunks: the one in `same_as`, or the document itself.
    holder uuid not null generated always as (coalesce(same_as, document_id)) stored,
    -- Two files of one reader set with the same key are duplicates. NULL: never a duplicate.
    -- See ingest/store/duplicates.py.
    content_key text,
    -- A number that orders the editions of a text. See ingest/store/edition_detection.py.
    edition text check (edition ~ '^[0-9]{1,9}([.-][0-9]{1,9}){0,5}$'),
    primary key (tenant_id, document_id),
    unique (tenant_id, uri),
    foreign key (tenant_id, reader_set_id) references reader_set,
    constraint document_same_as_fkey foreign key (tenant_id, same_as) references document
    deferrable initially deferred
);

create index document_holder_idx on document (tenant_id, holder);
create index document_same_as_idx on document (tenant_id, same_as) where same_as is not null;
create index document_content_key_idx on document (tenant_id, content_key, reader_set_id)
where same_as is null and content_key is not null;

alter table reader_set enable row level security, force row level security;
alter table document enable row level security, force row level security;

-- A reader sees the reader sets that are open to everyone or share a group with it.
create policy reader_sees on reader_set for select to groundwork_reader
using (tenant_id = (select current_tenant()) and (readers = '{}' or readers && (select current_groups())));

-- A reader sees the documents of the reader sets that it sees. The inner select is itself under the policy above.
create policy reader_sees on document for select to groundwork_reader
using (tenant_id = (select current_tenant()) and reader_set_id = any (array(select r.reader_set_id from reader_set r)));

-- A writer sees and changes all rows of its tenant.
create policy writer_works on reader_set to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on document to groundwork_writer, current_user using (tenant_id = (select current_tenant()));

grant select on reader_set, document to groundwork_reader;
grant select, insert, update, delete on reader_set, document to groundwork_writer;
