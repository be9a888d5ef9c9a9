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
