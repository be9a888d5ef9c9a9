-- Count the terms anew, and forget those that no chunk holds. In: tenant. Out: how many rows were put right.
with counted as (
    select term, reader_set_id, count(*) as chunks from posting where tenant_id = %(tenant)s group by term, reader_set_id
),
forgotten as (
    delete from lexicon l
    where l.tenant_id = %(tenant)s
        and not exists (select from counted c where c.term = l.term and c.reader_set_id = l.reader_set_id)
    returning l.chunk_count
),
corrected as (
    insert into lexicon as l (tenant_id, term, reader_set_id, chunk_count)
    select %(tenant)s, term, reader_set_id, chunks from counted
    on conflict (tenant_id, term, reader_set_id) do update set chunk_count = excluded.chunk_count
    where l.chunk_count <> excluded.chunk_count
    returning 1
)
select (select count(*) from forgotten where chunk_count <> 0) + (select count(*) from corrected)
