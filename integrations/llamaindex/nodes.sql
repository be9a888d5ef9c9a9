-- name: passages
-- List the passages of the documents that pass a filter, in the order of the documents. In: the
-- condition on document d with its values, tenant. Out: a row for each chunk.
select
    d.document_id, c.ordinal, d.title, d.path, d.uri, d.version, d.media_type, d.metadata,
    c.location, c.start_char, c.end_char, c.text
from document d
join chunk c on c.tenant_id = d.tenant_id and c.document_id = d.holder
where d.tenant_id = %(tenant)s and {condition}
order by d.uri, c.ordinal
