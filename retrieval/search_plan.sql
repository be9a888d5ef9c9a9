-- name: corpus_stats
-- Read the live index version and the size of what the reader may see, in the snapshot of a search.
-- In: tenant, partition (the suffix of the tenant's own partition, if it has one).
-- Out: one row: the live index version (all NULL before the first migration); documents, chunks and
-- terms (the sum of lengths) that the reader may see; vectors: the database's last estimate of the
-- vectors in the index to search.
select
    i.index_version_id, i.model, i.revision, i.dimension, r.documents, r.chunks, r.terms,
    coalesce((
        select c.reltuples::bigint
        from pg_class c
        where c.oid = coalesce(
            to_regclass(format('vector_%%s_%%s', i.index_version_id, %(partition)s::text)),
            to_regclass(format('vector_%%s_shared', i.index_version_id))
        )
    ), 0) as vectors
from (
    select
        coalesce(sum(document_count), 0)::bigint as documents,
        coalesce(sum(chunk_count), 0)::bigint as chunks,
        coalesce(sum(term_count), 0)::bigint as terms
    from reader_set
    where tenant_id = %(tenant)s
) r
left join index_version i on i.live
