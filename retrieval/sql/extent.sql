-- How much the reader may see. In: tenant. Out: documents, chunks.
select coalesce(sum(document_count), 0), coalesce(sum(chunk_count), 0)
from reader_set
where tenant_id = %(tenant)s
