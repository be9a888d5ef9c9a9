-- Have files that were put aside tried again: what they were then no longer counts. In: tenant, uris. Out: run_id of each.
update quarantine set content_hash = '', source_tag = null
where tenant_id = %(tenant)s and uri = any (%(uris)s::text[])
returning run_id
