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
