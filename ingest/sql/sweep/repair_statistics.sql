-- Write the recount down. In: tenant. Out: how many sets of readers were corrected.
with counted as (
    select r.reader_set_id, d.documents, c.chunks, c.terms
    from reader_set r
    cross join lateral (
        select count(*) as documents from document d
        where d.tenant_id = r.tenant_id and d.reader_set_id = r.reader_set_id
    ) d
    cross join lateral (
        select count(*) as chunks, coalesce(sum(term_count), 0)::bigint as terms from chunk c
        where c.tenant_id = r.tenant_id and c.reader_set_id = r.reader_set_id
    ) c
    where r.tenant_id = %(tenant)s
),
mended as (
    update reader_set r
    set document_count = n.documents, chunk_count = n.chunks, term_count = n.terms, epoch = r.epoch + 1
    from counted n
    where r.tenant_id = %(tenant)s and r.reader_set_id = n.reader_set_id
    and (r.document_count, r.chunk_count, r.term_count) is distinct from (n.documents, n.chunks, n.terms)
    returning 1
)
select count(*) from mended
