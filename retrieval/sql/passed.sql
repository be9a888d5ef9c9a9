-- How much a filter lets pass of what the reader may see. In: the condition on document d with its values, tenant.
-- Out: documents, passages.
select count(distinct d.document_id), count(distinct c.chunk_id)
from document d
left join chunk c on c.tenant_id = d.tenant_id and c.document_id = d.holder
where d.tenant_id = %(tenant)s and {condition}
