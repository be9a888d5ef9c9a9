-- name: passing
-- The chunks of the documents that a filter lets pass, or the first so many of them. In: the condition on document d with
-- its values, tenant, most. Out: one row: their ids as an array.
select coalesce(array_agg(chunk_id), '{{}}')
from (
    select c.chunk_id
    from document d
    cross join lateral (  -- offset 0: only the chunks of what passes are looked up
        select chunk_id from chunk where tenant_id = %(tenant)s and document_id = d.holder offset 0
    ) c
    where d.tenant_id = %(tenant)s and {condition}
    limit %(most)s
) passed

-- name: passes
-- Whether a filter lets chunk p pass: a document that it stands in, be it only a copy; stands within search.sql where too
-- many pass to list them. A scalar subquery, since it can't become a join: so it is asked of one candidate after the other,
-- in the order of the index, until there are enough. In: the condition on document d with its values, tenant.
(
    select bool_or(d.passes)
    from (
        select document_id from chunk where tenant_id = %(tenant)s and chunk_id = p.chunk_id offset 0
    ) c
    cross join lateral (
        select {condition} as passes from document d where d.tenant_id = %(tenant)s and d.holder = c.document_id offset 0
    ) d
)

-- name: passed
-- How much a filter lets pass of what the reader may see. In: the condition on document d with its values, tenant.
-- Out: documents, passages.
select count(distinct d.document_id), count(distinct c.chunk_id)
from document d
left join chunk c on c.tenant_id = d.tenant_id and c.document_id = d.holder
where d.tenant_id = %(tenant)s and {condition}
