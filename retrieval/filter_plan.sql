-- name: list_matching_chunks
-- List the chunks of the documents that pass a filter. In: the condition on document d with its
-- values, tenant, max_chunks. Out: one row: their ids as an array, max_chunks at most.
select coalesce(array_agg(chunk_id), '{{}}')
from (
    select c.chunk_id
    from document d
    cross join lateral (  -- offset 0: look up only the chunks of documents that pass
        select chunk_id from chunk where tenant_id = %(tenant)s and document_id = d.holder offset 0
    ) c
    where d.tenant_id = %(tenant)s and {condition}
    limit %(max_chunks)s
) passed

-- name: chunk_matches
-- Test if any document with chunk p, copies included, passes a filter. Part of search.sql if too
-- many chunks pass to list them. A scalar subquery can't become a join, so PostgreSQL tests one
-- candidate after the other, in the order of the index, until there are enough. In: the condition
-- on document d with its values, tenant.
(
    select bool_or(d.passes)
    from (
        select document_id
        from chunk
        where tenant_id = %(tenant)s and chunk_id = p.chunk_id
        offset 0
    ) c
    cross join lateral (
        select {condition} as passes
        from document d
        where d.tenant_id = %(tenant)s and d.holder = c.document_id
        offset 0
    ) d
)

-- name: count_matches
-- Count what passes a filter, of all that the reader may see. In: the condition on document d with
-- its values, tenant. Out: documents, passages.
select count(distinct d.document_id), count(distinct c.chunk_id)
from document d
left join chunk c on c.tenant_id = d.tenant_id and c.document_id = d.holder
where d.tenant_id = %(tenant)s and {condition}
