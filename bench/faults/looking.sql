-- name: count_incomplete_chunks
-- Number of chunks without their vector or one of their postings. In: {vectors}. Out: count.
select count(*)
from chunk c
left join {vectors} v using (tenant_id, chunk_id)
where c.tenant_id = current_tenant()
and (v.chunk_id is null or cardinality(c.terms) <> (
    select count(*) from posting p where p.tenant_id = c.tenant_id and p.chunk_id = c.chunk_id
))

-- name: read_chunks
-- Texts of a document's chunks, in order. In: holder. Out: text.
select text from chunk where tenant_id = current_tenant() and document_id = %(holder)s order by ordinal

-- name: read_document
-- Document by its path. In: path. Out: a row for each stored copy. The holder is the document that has
-- the chunks; for a duplicate it is another document.
select d.document_id, f.document_id as holder, f.text
from document d
join document f on f.tenant_id = d.tenant_id and f.document_id = d.holder
where d.tenant_id = current_tenant() and d.path = %(path)s
