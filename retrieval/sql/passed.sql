-- How much a filter lets pass of what the reader may see. In: the condition on document d with its values, tenant.
-- Out: documents, passages.
select count(distinct d.document_id), count(c.chunk_id)
from document d
left join chunk c using (tenant_id, document_id)
where d.tenant_id = %(tenant)s and {condition}
