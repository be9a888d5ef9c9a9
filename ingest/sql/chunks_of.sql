-- A document's chunks in order. In: tenant, document_id. Out: a row each.
select chunk_id, ordinal, start_char, end_char, tokens, location, context, text
from chunk
where tenant_id = %(tenant)s and document_id = %(document_id)s
order by ordinal
