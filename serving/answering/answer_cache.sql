-- name: response
-- An answer that was kept and still holds, in the same snapshot as what it must hold against.
-- In: tenant, key, hours. Out: one row: `epoch`, what the reader's documents are at (the live index, and how often what
-- they may read has changed: a number that only grows), and `answer`, or NULL.
with now_at as (
    select
        (select index_version_id from index_version where live) || '.'
        || (select coalesce(sum(epoch), 0) from reader_set where tenant_id = %(tenant)s) as epoch
)
select n.epoch, r.answer
from now_at n
left join response r on r.tenant_id = %(tenant)s and r.key = %(key)s and r.epoch = n.epoch
    and r.created_at > now() - make_interval(hours => %(hours)s)

-- name: like_response
-- The answer to the question most like another, of those that were kept for the same groups, filter, legs and release and
-- still hold. In: tenant, context, epoch, hours, question (the vector), likeness (the least cosine). Out: answer; no row
-- where none is near enough.
select r.answer
from response r
where r.tenant_id = %(tenant)s and r.context = %(context)s and r.epoch = %(epoch)s
and r.created_at > now() - make_interval(hours => %(hours)s) and r.question is not null
and r.question <=> %(question)s <= 1 - %(likeness)s
order by r.question <=> %(question)s
limit 1

-- name: keep_response
-- Keep an answer, unless what it rests on has changed meanwhile. In: tenant, key, context, groups, epoch, question (its
-- vector, or NULL), answer.
insert into response (tenant_id, key, context, groups, epoch, question, answer)
select current_tenant(), %(key)s, %(context)s, %(groups)s, %(epoch)s, %(question)s, %(answer)s
where %(epoch)s = (
    select
        (select index_version_id from index_version where live) || '.' || coalesce(sum(r.epoch), 0)
    from reader_set r
    where r.tenant_id = %(tenant)s and (r.readers = '{}' or r.readers && %(groups)s::text[])
)
on conflict (tenant_id, key) do update set
    epoch = excluded.epoch, question = excluded.question, answer = excluded.answer, created_at = excluded.created_at

-- name: evict_responses
-- Drop answers that are too old or, the oldest first, too many. In: tenant, hours, most.
delete from response r
using (
    select tenant_id, key from response
    where tenant_id = %(tenant)s and created_at <= greatest(
        now() - make_interval(hours => %(hours)s),
        (
            select created_at from response
            where tenant_id = %(tenant)s
            order by created_at desc
            offset %(most)s limit 1
        )
    )
    for update skip locked
) surplus
where r.tenant_id = surplus.tenant_id and r.key = surplus.key

-- name: clear_responses
-- Drop all answers that were kept for a tenant. In: tenant.
delete from response where tenant_id = %(tenant)s
