-- name: find_stored_elsewhere
-- The files whose content is stored already, for the same groups, as another document.
-- In: tenant, uris, contents, readers (separated by \x1f), one array per column. Out: uri.
select n.uri
from unnest(%(uris)s::text[], %(contents)s::text[], %(readers)s::text[]) as n (uri, content, readers)
join reader_set r on r.tenant_id = %(tenant)s and r.readers = string_to_array(n.readers, E'\x1f')
where exists (
    select from document d
    where d.tenant_id = %(tenant)s and d.content_key = n.content and d.reader_set_id = r.reader_set_id
    and d.same_as is null and d.uri <> n.uri
)

-- name: find_content_holders
-- The documents that hold the contents of incoming documents, without those that are about to get another content.
-- In: tenant, and for each document uris, contents, reader_set_ids. Out: content_key, reader_set_id, document_id.
with incoming as (
    select uri, content, reader_set_id
    from unnest(%(uris)s::text[], %(contents)s::text[], %(reader_set_ids)s::integer[]) as n (uri, content, reader_set_id)
)
select distinct d.content_key, d.reader_set_id, d.document_id
from incoming n
join document d
    on d.tenant_id = %(tenant)s and d.content_key = n.content and d.reader_set_id = n.reader_set_id and d.same_as is null
where not exists (
    select from incoming own
    where own.uri = d.uri and (own.content, own.reader_set_id) is distinct from (d.content_key, d.reader_set_id)
)

-- name: lock_contents
-- Lock the contents that documents have and are about to have, in the order of their numbers, until the transaction ends:
-- a transaction that stores, changes or deletes a document with the same content waits.
-- In: tenant, and for each document uris, contents, reader_set_ids (NULL for one that is deleted).
select pg_advisory_xact_lock(number)
from (
    select distinct hashtextextended(concat_ws(E'\x1f', %(tenant)s::text, content, reader_set_id), 0) as number
    from (
        select n.content, n.reader_set_id
        from unnest(%(contents)s::text[], %(reader_set_ids)s::integer[]) as n (content, reader_set_id)
        union
        select content_key, reader_set_id from document where tenant_id = %(tenant)s and uri = any (%(uris)s::text[])
    ) contents
    where content is not null
    order by number
    offset 0
) contents_in_order

-- name: transfer_ownership
-- Documents that are about to get another content, or to be deleted, pass their text and chunks to one of their
-- duplicates: the first by uri that stays. Vectors, sentences and postings belong to the chunks and stay as they are.
-- In: tenant, and for each document uris, contents, reader_set_ids (about to be; NULL: it is deleted).
with incoming as (
    select uri, content, reader_set_id
    from unnest(%(uris)s::text[], %(contents)s::text[], %(reader_set_ids)s::integer[]) as n (uri, content, reader_set_id)
),
departing as materialized (
    select d.document_id, d.same_as, d.text, d.blocks
    from incoming n
    join document d on d.tenant_id = %(tenant)s and d.uri = n.uri
    where d.content_key is not null and (d.content_key, d.reader_set_id) is distinct from (n.content, n.reader_set_id)
),
successor as materialized (
    select l.document_id as departing_id, h.document_id, l.text, l.blocks
    from departing l
    cross join lateral (
        select d.document_id
        from document d
        where d.tenant_id = %(tenant)s and d.same_as = l.document_id
        and d.document_id not in (select document_id from departing)
        order by d.uri
        limit 1
    ) h
    where l.same_as is null
),
chunks as (
    update chunk c set document_id = h.document_id
    from successor h
    where c.tenant_id = %(tenant)s and c.document_id = h.departing_id
)
update document d
set same_as = case when d.document_id <> h.document_id then h.document_id end,
    text = case when d.document_id = h.document_id then h.text else d.text end,
    blocks = case when d.document_id = h.document_id then h.blocks else d.blocks end
from successor h
where d.tenant_id = %(tenant)s and d.same_as = h.departing_id
