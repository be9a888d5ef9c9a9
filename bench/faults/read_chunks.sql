-- The texts of a document's chunks, in order. In: holder. Out: a row for each.
select text from chunk where tenant_id = current_tenant() and document_id = %(holder)s order by ordinal
