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
