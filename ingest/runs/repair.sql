-- name: quiet
-- Let nobody else count until the transaction ends. In: tenant.
select 1 from reader_set where tenant_id = %(tenant)s order by reader_set_id for update

-- name: leases
-- In: tenant. Out: how many leases ran out.
select count(*) from item where tenant_id = %(tenant)s and state = 'leased' and lease_until < now()

-- name: repair_leases
-- Free what a worker did not renew; tried alone the next time, and counted if it was alone. In: tenant. Out: how many.
with freed as (
    update item set state = 'waiting', alone = true, strikes = strikes + alone::integer, lease_until = null
    where tenant_id = %(tenant)s and state = 'leased' and lease_until < now()
    returning 1
)
select count(*) from freed

-- name: runs
-- In: tenant, seconds. Out: how many runs are open though no worker has shown itself for so long.
select count(*) from run
where tenant_id = %(tenant)s and state in ('planning', 'running')
and heartbeat_at < now() - make_interval(secs => %(seconds)s)

-- name: repair_runs
-- Close runs that nobody works on. What they had left to do, the next run of the same source does.
-- In: tenant, seconds. Out: how many.
with dead as (
    update run set state = 'failed', message = 'abandoned: no worker was left', finished_at = now()
    where tenant_id = %(tenant)s and state in ('planning', 'running')
    and heartbeat_at < now() - make_interval(secs => %(seconds)s)
    returning run_id
),
dropped as (
    update item set state = 'superseded', outcome = 'superseded', fence = fence + 1, lease_until = null
    where tenant_id = %(tenant)s and state in ('waiting', 'leased') and run_id in (select run_id from dead)
)
select count(*) from dead

-- name: chunks
-- In: tenant. Out: how many chunks have no document.
select count(*) from chunk c
where c.tenant_id = %(tenant)s and not exists (
    select from document d where d.tenant_id = c.tenant_id and d.document_id = c.document_id
)

-- name: repair_chunks
-- In: tenant. Out: how many chunks without a document were deleted, with all that hangs on them.
with gone as (
    delete from chunk c
    where c.tenant_id = %(tenant)s and not exists (
        select from document d where d.tenant_id = c.tenant_id and d.document_id = c.document_id
    )
    returning 1
)
select count(*) from gone

-- name: copies
-- In: tenant. Out: how many documents are the same as one that is not there, or holds something else.
select count(*) from document d
where d.tenant_id = %(tenant)s and d.same_as is not null and not exists (
    select from document h
    where h.tenant_id = d.tenant_id and h.document_id = d.same_as and h.same_as is null
    and h.content_key = d.content_key and h.reader_set_id = d.reader_set_id
)

-- name: repair_copies
-- Forget the content of documents that are the same as one that is not there: the next run of their source takes them in
-- anew. In: tenant. Out: how many.
with mended as (
    update document d
    set same_as = null, content_key = null, content_hash = '', source_tag = null
    where d.tenant_id = %(tenant)s and d.same_as is not null and not exists (
        select from document h
        where h.tenant_id = d.tenant_id and h.document_id = d.same_as and h.same_as is null
        and h.content_key = d.content_key and h.reader_set_id = d.reader_set_id
    )
    returning 1
)
select count(*) from mended

-- name: vectors
-- In: {vectors}, tenant. Out: how many passage vectors have no chunk.
select count(*) from {vectors} v
where v.tenant_id = %(tenant)s and not exists (
    select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
)

-- name: repair_vectors
-- In: {vectors}, tenant. Out: how many passage vectors without a chunk were deleted.
with gone as (
    delete from {vectors} v
    where v.tenant_id = %(tenant)s and not exists (
        select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
    )
    returning 1
)
select count(*) from gone

-- name: sentences
-- In: {sentences}, tenant. Out: how many sentences have no chunk.
select count(*) from {sentences} v
where v.tenant_id = %(tenant)s and not exists (
    select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
)

-- name: repair_sentences
-- In: {sentences}, tenant. Out: how many sentences without a chunk were deleted.
with gone as (
    delete from {sentences} v
    where v.tenant_id = %(tenant)s and not exists (
        select from chunk c where c.tenant_id = v.tenant_id and c.chunk_id = v.chunk_id
    )
    returning 1
)
select count(*) from gone

-- name: postings
-- In: tenant. Out: how many postings have no chunk.
select count(*) from posting p
where p.tenant_id = %(tenant)s and not exists (
    select from chunk c where c.tenant_id = p.tenant_id and c.chunk_id = p.chunk_id
)

-- name: repair_postings
-- In: tenant. Out: how many postings without a chunk were deleted.
with gone as (
    delete from posting p
    where p.tenant_id = %(tenant)s and not exists (
        select from chunk c where c.tenant_id = p.tenant_id and c.chunk_id = p.chunk_id
    )
    returning 1
)
select count(*) from gone

-- name: statistics
-- In: tenant. Out: how many sets of readers have statistics that differ from a recount.
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
-- Write the recount down. In: tenant. Out: how many sets of readers were corrected.
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
mended as (
    update reader_set r
    set document_count = n.documents, chunk_count = n.chunks, term_count = n.terms, epoch = r.epoch + 1
    from counted n
    where r.tenant_id = %(tenant)s and r.reader_set_id = n.reader_set_id
    and (r.document_count, r.chunk_count, r.term_count) is distinct from (n.documents, n.chunks, n.terms)
    returning 1
)
select count(*) from mended

-- name: lexicon
-- How many terms the lexicon counts otherwise than a recount does. In: tenant. Out: one number.
select count(*)
from (
    select term, reader_set_id, count(*) as chunks from posting where tenant_id = %(tenant)s group by term, reader_set_id
) p
full join (
    select term, reader_set_id, chunk_count as chunks from lexicon where tenant_id = %(tenant)s
) l using (term, reader_set_id)
where coalesce(p.chunks, 0) <> coalesce(l.chunks, 0)

-- name: repair_lexicon
-- Count the terms anew, and forget those that no chunk holds. In: tenant. Out: how many rows were put right.
with counted as (
    select term, reader_set_id, count(*) as chunks from posting where tenant_id = %(tenant)s group by term, reader_set_id
),
forgotten as (
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
select (select count(*) from forgotten where chunk_count <> 0) + (select count(*) from corrected)

-- name: words
-- How many terms the lexicon keeps that no chunk holds any longer. In: tenant. Out: one number.
select count(*) from lexicon where tenant_id = %(tenant)s and chunk_count = 0

-- name: repair_words
-- Forget the terms that no chunk holds any longer. In: tenant. Out: how many.
with forgotten as (
    delete from lexicon where tenant_id = %(tenant)s and chunk_count = 0 returning 1
)
select count(*) from forgotten

-- name: items
-- In: tenant, days. Out: how many items belong to runs that were closed so long ago, the history of documents left out.
select count(*) from item i
join run r using (tenant_id, run_id)
where i.tenant_id = %(tenant)s and r.finished_at < now() - make_interval(days => %(days)s)
and (i.version is null or not exists (select from document d where d.tenant_id = i.tenant_id and d.uri = i.uri))

-- name: repair_items
-- Forget the files of runs closed long ago, but not which versions there were of a document that is still there; the
-- runs and their counts stay. In: tenant, days. Out: how many.
with gone as (
    delete from item i
    using run r
    where i.tenant_id = %(tenant)s and r.tenant_id = i.tenant_id and r.run_id = i.run_id
    and r.finished_at < now() - make_interval(days => %(days)s)
    and (i.version is null or not exists (select from document d where d.tenant_id = i.tenant_id and d.uri = i.uri))
    returning 1
)
select count(*) from gone
