-- Remove what stands in the way of documents' new versions: old chunks (their vectors, sentences and postings go with
-- them), earlier tombstones, earlier quarantines. In: tenant, document_ids, uris.
with chunks as (
    delete from chunk where tenant_id = %(tenant)s and document_id = any (%(document_ids)s::uuid[])
),
tombstones as (
    delete from tombstone where tenant_id = %(tenant)s and document_id = any (%(document_ids)s::uuid[])
)
delete from quarantine where tenant_id = %(tenant)s and uri = any (%(uris)s::text[])
