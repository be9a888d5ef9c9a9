-- Forget the files of runs closed long ago; the runs and their counts stay. In: tenant, days. Out: how many.
with gone as (
    delete from item i
    using run r
    where i.tenant_id = %(tenant)s and r.tenant_id = i.tenant_id and r.run_id = i.run_id
    and r.finished_at < now() - make_interval(days => %(days)s)
    returning 1
)
select count(*) from gone
