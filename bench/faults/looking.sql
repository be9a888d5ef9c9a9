-- name: lacking
-- Chunks that a search can't find as it should. In: {vectors}. Out: how many lack their vector or one of their postings.
select count(*)
from chunk c
left join {vectors} v using (tenant_id, chunk_id)
where c.tenant_id = current_tenant()
and (v.chunk_id is null or cardinality(c.terms) <> (
    select count(*) from posting p where p.tenant_id = c.tenant_id and p.chunk_id = c.chunk_id
))

-- name: read_chunks
-- The texts of a document's chunks, in order. In: holder. Out: a row for each.
select text from chunk where tenant_id = current_tenant() and document_id = %(holder)s order by ordinal

-- name: read_document
-- A document as a reader finds it by its path. In: path. Out: a row; none where it isn't there, several where it is
-- there more than once. The holder is the document that has the chunks, which for a duplicate is another.
select d.document_id, f.document_id as holder, f.text
from document d
join document f on f.tenant_id = d.tenant_id and f.document_id = d.holder
where d.tenant_id = current_tenant() and d.path = %(path)s
