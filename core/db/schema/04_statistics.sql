-- Statistics of reader sets and terms. Triggers keep them correct for every write and delete.
--
-- Each statement records its changes in `statistics_change`; the commit adds them up. So a transaction locks the row of
-- a reader set for an instant only, and several workers can store documents at the same time.

-- Changes of the current transaction. Empty outside of it.
create table statistics_change (
    tenant_id text not null,
    change_id bigint not null generated always as identity,
    reader_set_id integer not null,
    documents bigint not null default 0,
    chunks bigint not null default 0,
    terms bigint not null default 0,
    -- Terms and the change in the number of chunks that hold each: two arrays of the same length, or NULL.
    lexemes text[],
    holding bigint[],
    primary key (tenant_id, change_id)
);

alter table statistics_change enable row level security, force row level security;

-- A writer sees and changes all rows of its tenant.
create policy writer_works on statistics_change to groundwork_writer, current_user
using (tenant_id = (select current_tenant()));

grant select, insert, update, delete on statistics_change to groundwork_writer;

-- Record added and removed documents.
create function count_documents() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        insert into statistics_change (tenant_id, reader_set_id, documents)
        select tenant_id, reader_set_id, -count(*) from removed_document group by tenant_id, reader_set_id;
    end if;
    if tg_op <> 'DELETE' then
        insert into statistics_change (tenant_id, reader_set_id, documents)
        select tenant_id, reader_set_id, count(*) from added_document group by tenant_id, reader_set_id;
    end if;
    return null;
end
$$;

create trigger count_added after insert on document
referencing new table as added_document for each statement execute function count_documents();
create trigger count_moved after update on document
referencing old table as removed_document new table as added_document
for each statement execute function count_documents();
create trigger count_removed after delete on document
referencing old table as removed_document for each statement execute function count_documents();

-- Record added chunks and their terms.
create function count_added_chunks() returns trigger language plpgsql as $$
begin
    insert into statistics_change (tenant_id, reader_set_id, chunks, terms)
    select tenant_id, reader_set_id, count(*), sum(term_count) from added_chunk group by tenant_id, reader_set_id;
    insert into statistics_change (tenant_id, reader_set_id, lexemes, holding)
    select tenant_id, reader_set_id, array_agg(term), array_agg(chunks)
    from (
        select c.tenant_id, c.reader_set_id, t.term, count(*) as chunks
        from added_chunk c, unnest(c.terms) as t (term)
        group by c.tenant_id, c.reader_set_id, t.term
    ) counted
    group by tenant_id, reader_set_id;
    return null;
end
$$;

create trigger count_added after insert on chunk
referencing new table as added_chunk for each statement execute function count_added_chunks();

-- Delete the postings of removed chunks and record the change.
-- `offset 0` keeps the planner from moving the join: each posting is then found by its whole key. Without it, the
-- planner, which does not know the number of removed chunks, may scan all postings of every term.
create function forget_removed_chunks() returns trigger language plpgsql as $$
begin
    delete from posting p
    using (
        select c.tenant_id, c.chunk_id, t.term from removed_chunk c, unnest(c.terms) as t (term) offset 0
    ) removed
    where p.tenant_id = removed.tenant_id and p.term = removed.term and p.chunk_id = removed.chunk_id;
    insert into statistics_change (tenant_id, reader_set_id, chunks, terms)
    select tenant_id, reader_set_id, -count(*), -sum(term_count) from removed_chunk group by tenant_id, reader_set_id;
    insert into statistics_change (tenant_id, reader_set_id, lexemes, holding)
    select tenant_id, reader_set_id, array_agg(term), array_agg(chunks)
    from (
        select c.tenant_id, c.reader_set_id, t.term, -count(*) as chunks
        from removed_chunk c, unnest(c.terms) as t (term)
        group by c.tenant_id, c.reader_set_id, t.term
    ) counted
    group by tenant_id, reader_set_id;
    return null;
end
$$;

create trigger forget_removed after delete on chunk
referencing old table as removed_chunk for each statement execute function forget_removed_chunks();

-- Apply all changes of the transaction. The trigger runs at commit, for each change; the first run applies all of them.
-- Reader sets come first, in order, then terms, in order, so that two transactions never deadlock.
create function apply_statistics() returns trigger language plpgsql as $$
declare
    change record;
begin
    for change in
        with taken as (
            delete from statistics_change where tenant_id = new.tenant_id and lexemes is null returning *
        )
        select reader_set_id, sum(documents) as documents, sum(chunks) as chunks, sum(terms) as terms
        from taken group by reader_set_id order by reader_set_id
    loop
        update reader_set r
        set document_count = r.document_count + change.documents, chunk_count = r.chunk_count + change.chunks,
            term_count = r.term_count + change.terms, epoch = r.epoch + 1
        where r.tenant_id = new.tenant_id and r.reader_set_id = change.reader_set_id;
    end loop;
    with taken as (
        delete from statistics_change where tenant_id = new.tenant_id and lexemes is not null returning *
    )
    insert into lexicon as l (tenant_id, term, reader_set_id, chunk_count)
    select new.tenant_id, h.term, t.reader_set_id, sum(h.chunks)
    from taken t, unnest(t.lexemes, t.holding) as h (term, chunks)
    group by h.term, t.reader_set_id
    having sum(h.chunks) <> 0
    order by h.term collate "C", t.reader_set_id
    on conflict (tenant_id, term, reader_set_id) do update set chunk_count = l.chunk_count + excluded.chunk_count;
    return null;
end
$$;

create constraint trigger apply after insert on statistics_change
deferrable initially deferred for each row execute function apply_statistics();
