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
