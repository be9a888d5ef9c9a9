-- name: lock_statistics
-- Lock the statistics until the transaction ends. In: tenant.
select 1 from reader_set where tenant_id = %(tenant)s order by reader_set_id for update

-- name: leases
-- In: tenant. Out: number of expired leases.
select count(*) from item where tenant_id = %(tenant)s and state = 'leased' and lease_until < now()

-- name: repair_leases
-- Free the items of expired leases. They are tried alone, with a strike if they were alone. In: tenant. Out: number.
with freed as (
    update item set state = 'waiting', alone = true, strikes = strikes + alone::integer, lease_until = null
    where tenant_id = %(tenant)s and state = 'leased' and lease_until < now()
    returning 1
)
select count(*) from freed

-- name: runs
-- In: tenant, seconds. Out: number of open runs without a heartbeat for so long.
select count(*) from run
where tenant_id = %(tenant)s and state in ('planning', 'running')
and heartbeat_at < now() - make_interval(secs => %(seconds)s)

-- name: repair_runs
-- Close abandoned runs. The next run of the same source does their unfinished work. In: tenant, seconds. Out: number.
with dead as (
    update run set state = 'failed', message = 'abandoned: no worker was left', finished_at = now()
    where tenant_id = %(tenant)s and state in ('planning', 'running')
    and heartbeat_at < now() - make_interval(secs => %(seconds)s)
    returning run_id
),
superseded as (
    update item set state = 'superseded', outcome = 'superseded', fence = fence + 1, lease_until = null
    where tenant_id = %(tenant)s and state in ('waiting', 'leased') and run_id in (select run_id from dead)
)
select count(*) from dead

-- name: chunks
-- In: tenant. Out: number of chunks without a document.
select count(*) from chunk c
where c.tenant_id = %(tenant)s and not exists (
    select from document d where d.tenant_id = c.tenant_id and d.document_id = c.document_id
)

-- name: repair_chunks
-- Delete chunks without a document, with everything that belongs to them. In: tenant. Out: number.
with deleted as (
    delete from chunk c
    where c.tenant_id = %(tenant)s and not exists (
        select from document d where d.tenant_id = c.tenant_id and d.document_id = c.document_id
    )
    returning 1
)
select count(*) from deleted

-- name: copies
-- In: tenant. Out: number of duplicates whose holder is missing or holds another content.
select count(*) from document d
where d.tenant_id = %(tenant)s and d.same_as is not null and not exists (
    select from document h
    where h.tenant_id = d.tenant_id and h.document_id = d.same_as and h.same_as is null
    and h.content_key = d.content_key and h.reader_set_id = d.reader_set_id
)

-- name: repair_copies
-- Forget the content of duplicates without a holder: the next run of their source ingests them again.
-- In: tenant. Out: number.
with corrected as (
    update document d
    set same_as = null, content_key = null, content_hash = '', source_tag = null
    where d.tenant_id = %(tenant)s and d.same_as is not null and not exists (
        select from document h
        where h.tenant_id = d.tenant_id and h.document_id = d.same_as and h.same_as is null
        and h.content_key = d.content_key and h.reader_set_id = d.reader_set_id
    )
    returning 1
)
select count(*) from corrected

-- name: vectors
-- In: {vectors}, tenant. Out: number of chunk vectors without a chunk.
select count(*) from {vectors} v
where v.tenant_id = %(tenant)s and not exists (
    select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
)

-- name: repair_vectors
-- Delete chunk vectors without a chunk. In: {vectors}, tenant. Out: number.
with deleted as (
    delete from {vectors} v
    where v.tenant_id = %(tenant)s and not exists (
        select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
    )
    returning 1
)
select count(*) from deleted

-- name: sentences
-- In: {sentences}, tenant. Out: number of sentences without a chunk.
select count(*) from {sentences} v
where v.tenant_id = %(tenant)s and not exists (
    select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
)

-- name: repair_sentences
-- Delete sentences without a chunk. In: {sentences}, tenant. Out: number.
with deleted as (
    delete from {sentences} v
    where v.tenant_id = %(tenant)s and not exists (
        select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
    )
    returning 1
)
select count(*) from deleted

-- name: postings
-- In: tenant. Out: number of postings without a chunk.
select count(*) from posting p
where p.tenant_id = %(tenant)s and not exists (
    select from chunk c where c.tenant_id = p.tenant_id and c.chunk_id = p.chunk_id
)

-- name: repair_postings
-- Delete postings without a chunk. In: tenant. Out: number.
with deleted as (
    delete from posting p
    where p.tenant_id = %(tenant)s and not exists (
        select from chunk c where c.tenant_id = p.tenant_id and c.chunk_id = p.chunk_id
    )
    returning 1
)
select count(*) from deleted

-- name: statistics
-- In: tenant. Out: number of reader sets whose statistics differ from a recount.
select count(*)
from reader_set r
cross join lateral (
    select count(*) as documents from document d
    where d.tenant_id = r.tenant_id and d.reader_set_id = r.reader_set_id
) d
cross join lateral (
    select count(*) as chunks, coalesce(sum(term_count), 0) as terms from chunk c
    where c.tenant_id = r.tenant_id and c.reader_set_id = r.reader_set_id
) c
where r.tenant_id = %(tenant)s
and (r.document_count, r.chunk_count, r.term_count) is distinct from (d.documents, c.chunks, c.terms::bigint)

-- name: repair_statistics
-- Write the recounted statistics. In: tenant. Out: number of corrected reader sets.
with counted as (
    select r.reader_set_id, d.documents, c.chunks, c.terms
    from reader_set r
    cross join lateral (
        select count(*) as documents from document d
        where d.tenant_id = r.tenant_id and d.reader_set_id = r.reader_set_id
    ) d
    cross join lateral (
        select count(*) as chunks, coalesce(sum(term_count), 0)::bigint as terms from chunk c
        where c.tenant_id = r.tenant_id and c.reader_set_id = r.reader_set_id
    ) c
    where r.tenant_id = %(tenant)s
),
corrected as (
    update reader_set r
    set document_count = n.documents, chunk_count = n.chunks, term_count = n.terms, epoch = r.epoch + 1
    from counted n
    where r.tenant_id = %(tenant)s and r.reader_set_id = n.reader_set_id
    and (r.document_count, r.chunk_count, r.term_count) is distinct from (n.documents, n.chunks, n.terms)
    returning 1
)
select count(*) from corrected

-- name: lexicon
-- In: tenant. Out: number of terms whose count in the lexicon differs from a recount.
select count(*)
from (
    select term, reader_set_id, count(*) as chunks from posting where tenant_id = %(tenant)s group by term, reader_set_id
) p
full join (
    select term, reader_set_id, chunk_count as chunks from lexicon where tenant_id = %(tenant)s
) l using (term, reader_set_id)
where coalesce(p.chunks, 0) <> coalesce(l.chunks, 0)

-- name: repair_lexicon
-- Recount the terms, and delete those that no chunk holds. In: tenant. Out: number of corrected rows.
with counted as (
    select term, reader_set_id, count(*) as chunks from posting where tenant_id = %(tenant)s group by term, reader_set_id
),
deleted as (
    delete from lexicon l
    where l.tenant_id = %(tenant)s
        and not exists (select from counted c where c.term = l.term and c.reader_set_id = l.reader_set_id)
    returning l.chunk_count
),
corrected as (
    insert into lexicon as l (tenant_id, term, reader_set_id, chunk_count)
    select %(tenant)s, term, reader_set_id, chunks from counted
    on conflict (tenant_id, term, reader_set_id) do update set chunk_count = excluded.chunk_count
    where l.chunk_count <> excluded.chunk_count
    returning 1
)
select (select count(*) from deleted where chunk_count <> 0) + (select count(*) from corrected)

-- name: words
-- In: tenant. Out: number of terms in the lexicon that no chunk holds any longer.
select count(*) from lexicon where tenant_id = %(tenant)s and chunk_count = 0

-- name: repair_words
-- Delete the terms that no chunk holds any longer. In: tenant. Out: number.
with deleted as (
    delete from lexicon where tenant_id = %(tenant)s and chunk_count = 0 returning 1
)
select count(*) from deleted

-- name: items
-- In: tenant, days. Out: number of items of runs that were closed so long ago, without the history of stored documents.
select count(*) from item i
join run r using (tenant_id, run_id)
where i.tenant_id = %(tenant)s and r.finished_at < now() - make_interval(days => %(days)s)
and (i.version is null or not exists (select from document d where d.tenant_id = i.tenant_id and d.uri = i.uri))

-- name: repair_items
-- Delete the items of runs that were closed long ago, but keep the versions of a stored document. The runs and their
-- counts stay. In: tenant, days. Out: number.
with deleted as (
    delete from item i
    using run r
    where i.tenant_id = %(tenant)s and r.tenant_id = i.tenant_id and r.run_id = i.run_id
    and r.finished_at < now() - make_interval(days => %(days)s)
    and (i.version is null or not exists (select from document d where d.tenant_id = i.tenant_id and d.uri = i.uri))
    returning 1
)
select count(*) from deleted
