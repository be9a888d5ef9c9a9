-- How many terms the lexicon counts otherwise than a recount does. In: tenant. Out: one number.
select count(*)
from (
    select term, reader_set_id, count(*) as chunks from posting where tenant_id = %(tenant)s group by term, reader_set_id
) p
full join (
    select term, reader_set_id, chunk_count as chunks from lexicon where tenant_id = %(tenant)s
) l using (term, reader_set_id)
where coalesce(p.chunks, 0) <> coalesce(l.chunks, 0)
