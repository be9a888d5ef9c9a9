-- Duplicates. A file with the bytes of one that is stored becomes a further place of it: a row in `document` that says of
-- which other it is `same_as`, with no text, chunks, vectors or postings of its own. Whose it has is its `holder`: that other,
-- or itself. `content_key` is what two files must share for that, beside their readers (NULL: never shares); see
-- ingest/store/duplicates.py. `edition` tells versions of a text apart, and which is newer; see ingest/store/edition_detection.py.
alter table document
    add column same_as uuid,
    add column holder uuid not null generated always as (coalesce(same_as, document_id)) stored,
    add column content_key text,
    add column edition text check (edition ~ '^[0-9]{1,9}([.-][0-9]{1,9}){0,5}$'),
    add constraint document_same_as_fkey foreign key (tenant_id, same_as) references document
    deferrable initially deferred;

create index document_holder_idx on document (tenant_id, holder);
create index document_same_as_idx on document (tenant_id, same_as) where same_as is not null;
create index document_content_key_idx on document (tenant_id, content_key, reader_set_id)
where same_as is null and content_key is not null;

-- The folded signature of a chunk's text: two that share a number are near-duplicates. Empty: too short to tell, or stored
-- before there were any.
alter table chunk add column bands integer[] not null default '{}';
