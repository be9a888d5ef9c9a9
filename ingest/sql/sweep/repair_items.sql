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
