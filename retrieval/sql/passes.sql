-- Whether a filter lets chunk p pass; stands within search.sql where too many do to list them. A scalar subquery, since
-- it can't become a join: so it is asked of one candidate after the other, in the order of the index, until there are
-- enough. In: the condition on document d with its values, tenant.
(
    select {condition}
    from chunk c
    join document d using (tenant_id, document_id)
    where c.tenant_id = %(tenant)s and c.chunk_id = p.chunk_id
)
