-- A document that the reader may see. In: tenant, document_id. Out: one row, or none.
select
    d.document_id, d.title, d.path, d.media_type, d.version, r.readers, d.metadata, d.ingested_at, d.text, d.blocks
from document d
join reader_set r using (tenant_id, reader_set_id)
where d.tenant_id = %(tenant)s and d.document_id = %(document_id)s
