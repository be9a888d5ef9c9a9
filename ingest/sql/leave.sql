-- A worker ends: what it still holds is free for others, and its seconds by stage are added to the run's.
-- In: tenant, run_id, worker, seconds.
with freed as (
    update item set state = 'waiting', lease_until = null
    where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'leased' and worker = %(worker)s
)
update run
set seconds = (
    select coalesce(jsonb_object_agg(stage, spent), jsonb_build_object())
    from (
        select stage, sum(spent::float8) as spent
        from (select * from jsonb_each_text(run.seconds) union all select * from jsonb_each_text(%(seconds)s)) s (stage, spent)
        group by stage
    ) total
)
where tenant_id = %(tenant)s and run_id = %(run_id)s
