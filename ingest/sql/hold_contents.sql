-- Hold the contents that documents have and are about to have, in the order of their numbers, until the transaction ends:
-- whoever stores, changes or deletes one of the same content waits. In: tenant, and for each document uris, contents,
-- reader_set_ids (NULL for one that is deleted). Out: nothing of use.
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
) held
