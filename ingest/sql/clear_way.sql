-- Remove what stands in the way of a document's new version: old chunks (their vectors, sentences and postings go with
-- them), an earlier tombstone, an earlier quarantine. In: tenant, document_id, uri.
with chunks as (
    delete from chunk where tenant_id = %(tenant)s and document_id = %(document_id)s
),
tombstones as (
    delete from tombstone where tenant_id = %(tenant)s and document_id = %(document_id)s
)
delete from quarantine where tenant_id = %(tenant)s and uri = %(uri)s
