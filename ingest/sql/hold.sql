-- Lock the files of a batch that are still ours: nobody can claim or supersede them before the transaction ends.
-- In: tenant, run_id, uris, fences. Out: uri.
select i.uri
from item i
join unnest(%(uris)s::text[], %(fences)s::bigint[]) as ours (uri, fence) on ours.uri = i.uri and ours.fence = i.fence
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'leased'
order by i.uri
for update of i
