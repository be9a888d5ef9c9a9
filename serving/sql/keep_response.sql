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
