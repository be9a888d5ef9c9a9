-- Delete documents and leave a tombstone each, or forget quarantined files. In: tenant, uris, run_id.
-- Out: uri, one row for each that was there.
with gone as (
    delete from document where tenant_id = %(tenant)s and uri = any (%(uris)s::text[])
    returning document_id, uri, version
),
tombstones as (
    insert into tombstone (tenant_id, document_id, uri, version, run_id)
    select %(tenant)s, document_id, uri, version, %(run_id)s from gone
    on conflict (tenant_id, document_id) do update set
        version = excluded.version, run_id = excluded.run_id, deleted_at = now()
),
released as (
    delete from quarantine where tenant_id = %(tenant)s and uri = any (%(uris)s::text[]) returning uri
)
select uri from gone union select uri from released
