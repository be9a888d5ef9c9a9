-- The chunks of the documents that a filter lets pass, or the first so many of them. In: the condition on document d with
-- its values, tenant, most. Out: one row: their ids as an array.
select coalesce(array_agg(chunk_id), '{{}}')
from (
    select c.chunk_id
    from document d
    join chunk c using (tenant_id, document_id)
    where d.tenant_id = %(tenant)s and {condition}
    limit %(most)s
) c
