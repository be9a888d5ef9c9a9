-- What runs made of a file, newest first. In: tenant, uri. Out: a row for each run; version is null where it made none.
select i.version, i.outcome as state, i.content_hash, i.reason, r.run_id, r.kind, r.started_at, r.pipeline_hash
from run r
join item i using (tenant_id, run_id)
where r.tenant_id = %(tenant)s and i.uri = %(uri)s and i.state = 'done'
order by r.number desc
limit 100
