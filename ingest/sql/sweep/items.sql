-- In: tenant, days. Out: how many items belong to runs that were closed so long ago.
select count(*) from item i
join run r using (tenant_id, run_id)
where i.tenant_id = %(tenant)s and r.finished_at < now() - make_interval(days => %(days)s)
