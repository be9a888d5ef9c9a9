-- Delete a document and leave a tombstone, or forget a quarantined file. In: tenant, uri, run_id.
-- Out: one row if there was something.
with gone as (
    delete from document where tenant_id = %(tenant)s and uri = %(uri)s
    returning document_id, uri, version
),
tombstones as (
    insert into tombstone (tenant_id, document_id, uri, version, run_id)
    select %(tenant)s, document_id, uri, version, %(run_id)s from gone
    on conflict (tenant_id, document_id) do update set
        version = excluded.version, run_id = excluded.run_id, deleted_at = now()
),
released as (
    delete from quarantine where tenant_id = %(tenant)s and uri = %(uri)s returning uri
)
select uri from gone union select uri from released
