-- Who holds the contents that documents are about to have, those left out that are themselves about to have another.
-- In: tenant, and for each document uris, contents, reader_set_ids. Out: content_key, reader_set_id, document_id.
with arriving as (
    select uri, content, reader_set_id
    from unnest(%(uris)s::text[], %(contents)s::text[], %(reader_set_ids)s::integer[]) as n (uri, content, reader_set_id)
)
select distinct d.content_key, d.reader_set_id, d.document_id
from arriving n
join document d
    on d.tenant_id = %(tenant)s and d.content_key = n.content and d.reader_set_id = n.reader_set_id and d.same_as is null
where not exists (
    select from arriving own
    where own.uri = d.uri and (own.content, own.reader_set_id) is distinct from (d.content_key, d.reader_set_id)
)
