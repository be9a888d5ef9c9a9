-- In: tenant, days. Out: how many items belong to runs that were closed so long ago, the history of documents left out.
select count(*) from item i
join run r using (tenant_id, run_id)
where i.tenant_id = %(tenant)s and r.finished_at < now() - make_interval(days => %(days)s)
and (i.version is null or not exists (select from document d where d.tenant_id = i.tenant_id and d.uri = i.uri))
