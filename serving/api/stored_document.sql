-- name: fetch_document
-- Fetch a document that the reader may see. The holder has the text of documents with one file.
-- In: tenant, document_id. Out: one row, or none.
select
    d.document_id, d.title, d.path, d.media_type, d.version, r.readers, d.metadata, d.ingested_at, f.text, f.blocks
from document d
join reader_set r using (tenant_id, reader_set_id)
join document f on f.tenant_id = d.tenant_id and f.document_id = d.holder
where d.tenant_id = %(tenant)s and d.document_id = %(document_id)s
