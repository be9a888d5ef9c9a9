-- name: find_answer
-- Find a stored answer that is still valid, in one snapshot with the current epoch.
-- In: tenant, key, max_age_hours. Out: one row: epoch, the state of the documents that the reader
-- sees (the live index and the sum of their change counters), and answer, or NULL.
with current_epoch as (
    select
        (select index_version_id from index_version where live) || '.'
        || (select coalesce(sum(epoch), 0) from reader_set where tenant_id = %(tenant)s) as epoch
)
select c.epoch, r.answer
from current_epoch c
left join response r on r.tenant_id = %(tenant)s and r.key = %(key)s and r.epoch = c.epoch
    and r.created_at > now() - make_interval(hours => %(max_age_hours)s)

-- name: find_similar_answer
-- Find the valid answer of the most similar question in the same context (groups, mode, filter...).
-- In: tenant, context, epoch, max_age_hours, question_vector, min_similarity (a cosine).
-- Out: answer, at most one row.
select r.answer
from response r
where r.tenant_id = %(tenant)s and r.context = %(context)s and r.epoch = %(epoch)s
and r.created_at > now() - make_interval(hours => %(max_age_hours)s) and r.question is not null
and r.question <=> %(question_vector)s <= 1 - %(min_similarity)s
order by r.question <=> %(question_vector)s
limit 1

-- name: store_answer
-- Store an answer, unless its documents have changed meanwhile.
-- In: tenant, key, context, groups, epoch, question_vector (or NULL), answer.
insert into response (tenant_id, key, context, groups, epoch, question, answer)
select
    current_tenant(), %(key)s, %(context)s, %(groups)s, %(epoch)s, %(question_vector)s, %(answer)s
where %(epoch)s = (
    select
        (select index_version_id from index_version where live) || '.' || coalesce(sum(r.epoch), 0)
    from reader_set r
    where r.tenant_id = %(tenant)s and (r.readers = '{}' or r.readers && %(groups)s::text[])
)
on conflict (tenant_id, key) do update set
    epoch = excluded.epoch, question = excluded.question, answer = excluded.answer, created_at = excluded.created_at

-- name: evict_answers
-- Delete answers that are too old and, oldest first, those beyond the maximum number.
-- In: tenant, max_age_hours, max_answers.
delete from response r
using (
    select tenant_id, key from response
    where tenant_id = %(tenant)s and created_at <= greatest(
        now() - make_interval(hours => %(max_age_hours)s),
        (
            select created_at from response
            where tenant_id = %(tenant)s
            order by created_at desc
            offset %(max_answers)s limit 1
        )
    )
    for update skip locked
) surplus
where r.tenant_id = surplus.tenant_id and r.key = surplus.key

-- name: clear_answers
-- Delete all answers of a tenant. In: tenant.
delete from response where tenant_id = %(tenant)s
