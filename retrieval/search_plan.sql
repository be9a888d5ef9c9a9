-- name: reach
-- What a search goes by, read in its snapshot: the live index, and how much there is that the reader may see.
-- In: tenant, partition (what the name of the tenant's own would end in). Out: one row: the live index (all NULL: never migrated), documents, chunks, terms (their sum of lengths), and
-- rows: how many vectors lie in the index that is to be searched, as the database last estimated.
select
    i.index_version_id, i.model, i.revision, i.dimension, r.documents, r.chunks, r.terms,
    coalesce((
        select c.reltuples::bigint
        from pg_class c
        where c.oid = coalesce(
            to_regclass(format('vector_%%s_%%s', i.index_version_id, %(partition)s::text)),
            to_regclass(format('vector_%%s_shared', i.index_version_id))
        )
    ), 0) as rows
from (
    select
        coalesce(sum(document_count), 0)::bigint as documents,
        coalesce(sum(chunk_count), 0)::bigint as chunks,
        coalesce(sum(term_count), 0)::bigint as terms
    from reader_set
    where tenant_id = %(tenant)s
) r
left join index_version i on i.live
