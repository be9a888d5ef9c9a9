-- The lexicon: how many chunks hold a term, for each set of readers. With it a term's rarity is known without reading its
-- postings, so that a question reads the postings of its rare terms and asks after the common ones only where it matters.
-- Kept by set of readers, like the other statistics: rarity depends on nothing that the reader may not see.
create table lexicon (
    tenant_id text not null,
    term text collate "C" not null,
    reader_set_id integer not null,
    chunk_count bigint not null,
    primary key (tenant_id, term, reader_set_id)
) with (fillfactor = 80);

insert into lexicon (tenant_id, term, reader_set_id, chunk_count)
select tenant_id, term, reader_set_id, count(*) from posting group by tenant_id, term, reader_set_id;

alter table lexicon enable row level security, force row level security;
create policy reader_sees on lexicon for select to groundwork_reader
using (tenant_id = (select current_tenant()) and reader_set_id = any (array(select r.reader_set_id from reader_set r)));
create policy writer_works on lexicon to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
grant select on lexicon to groundwork_reader;
grant select, insert, update, delete on lexicon to groundwork_writer;

-- Counted when the transaction commits, like the rest: a note of what a statement changed, one array a column.
alter table statistics_change add column lexemes text[], add column holding bigint[];

create or replace function count_added_chunks() returns trigger language plpgsql as $$
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

create or replace function forget_removed_chunks() returns trigger language plpgsql as $$
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

-- First the sets of readers, in order, then the terms, in order: two transactions never wait for each other. A term that
-- no chunk holds any longer keeps its row, with 0, until it is swept.
create or replace function apply_statistics() returns trigger language plpgsql as $$
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
