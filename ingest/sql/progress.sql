-- How far a run is. In: tenant, run_id. Out: one row.
select
    r.state, count(i.uri) as files, count(i.uri) filter (where i.state in ('done', 'superseded')) as done,
    count(i.uri) filter (where i.state = 'leased') as leased,
    coalesce(sum(i.chunks), 0)::bigint as chunks, coalesce(sum(i.tokens), 0)::bigint as tokens,
    count(distinct i.worker) filter (where i.state = 'leased') as workers
from run r
left join item i using (tenant_id, run_id)
where r.tenant_id = %(tenant)s and r.run_id = %(run_id)s
group by r.state
