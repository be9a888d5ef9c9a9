-- A document's chunks in order; those of the one that it is the same as, where it is. In: tenant, document_id. Out: a row each.
select chunk_id, ordinal, start_char, end_char, tokens, location, context, text
from chunk
where tenant_id = %(tenant)s and document_id = (
    select holder from document where tenant_id = %(tenant)s and document_id = %(document_id)s
)
order by ordinal
