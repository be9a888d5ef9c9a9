-- Documents that are about to get another content, or to go, pass text and chunks on to one of those that are the same as
-- they: the first by uri that stays. Vectors, sentences and postings belong to the chunks and stay as they are.
-- In: tenant, and for each document uris, contents, reader_set_ids (what it is about to have; NULL: it is deleted).
with arriving as (
    select uri, content, reader_set_id
    from unnest(%(uris)s::text[], %(contents)s::text[], %(reader_set_ids)s::integer[]) as n (uri, content, reader_set_id)
),
leaving as materialized (
    select d.document_id, d.same_as, d.text, d.blocks
    from arriving n
    join document d on d.tenant_id = %(tenant)s and d.uri = n.uri
    where d.content_key is not null and (d.content_key, d.reader_set_id) is distinct from (n.content, n.reader_set_id)
),
heir as materialized (
    select l.document_id as leaver, h.document_id, l.text, l.blocks
    from leaving l
    cross join lateral (
        select d.document_id
        from document d
        where d.tenant_id = %(tenant)s and d.same_as = l.document_id
        and d.document_id not in (select document_id from leaving)
        order by d.uri
        limit 1
    ) h
    where l.same_as is null
),
chunks as (
    update chunk c set document_id = h.document_id
    from heir h
    where c.tenant_id = %(tenant)s and c.document_id = h.leaver
)
update document d
set same_as = case when d.document_id <> h.document_id then h.document_id end,
    text = case when d.document_id = h.document_id then h.text else d.text end,
    blocks = case when d.document_id = h.document_id then h.blocks else d.blocks end
from heir h
where d.tenant_id = %(tenant)s and d.same_as = h.leaver
