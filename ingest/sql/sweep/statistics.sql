-- In: tenant. Out: how many sets of readers have statistics that differ from a recount.
select count(*)
from reader_set r
cross join lateral (
    select count(*) as documents from document d
    where d.tenant_id = r.tenant_id and d.reader_set_id = r.reader_set_id
) d
cross join lateral (
    select count(*) as chunks, coalesce(sum(term_count), 0) as terms from chunk c
    where c.tenant_id = r.tenant_id and c.reader_set_id = r.reader_set_id
) c
where r.tenant_id = %(tenant)s
and (r.document_count, r.chunk_count, r.term_count) is distinct from (d.documents, c.chunks, c.terms::bigint)
