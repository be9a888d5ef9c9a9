-- Note the state of files that were found to be as they were, so that they need not be read the next time.
-- In: tenant, uris, tags.
with seen as (
    select uri, tag from unnest(%(uris)s::text[], %(tags)s::text[]) as s (uri, tag)
),
aside as (
    update quarantine q set source_tag = seen.tag from seen where q.tenant_id = %(tenant)s and q.uri = seen.uri
)
update document d set source_tag = seen.tag from seen where d.tenant_id = %(tenant)s and d.uri = seen.uri
