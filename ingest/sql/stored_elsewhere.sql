-- Which files are stored already, with the same readers, as another document. In: tenant, uris, contents, readers (separated
-- by \x1f), one array a column. Out: uri.
select n.uri
from unnest(%(uris)s::text[], %(contents)s::text[], %(readers)s::text[]) as n (uri, content, readers)
join reader_set r on r.tenant_id = %(tenant)s and r.readers = string_to_array(n.readers, E'\x1f')
where exists (
    select from document d
    where d.tenant_id = %(tenant)s and d.content_key = n.content and d.reader_set_id = r.reader_set_id
    and d.same_as is null and d.uri <> n.uri
)
