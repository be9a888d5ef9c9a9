-- Give files back to whoever claims them next. Where `failed`, it counts against a file that was alone, and one that was
-- not will be. In: tenant, run_id, uris, fences, failed, stage, reason, message.
update item i
set state = 'waiting', lease_until = null,
    strikes = i.strikes + (%(failed)s and i.alone)::integer, alone = i.alone or %(failed)s,
    stage = %(stage)s, reason = %(reason)s, message = %(message)s
from unnest(%(uris)s::text[], %(fences)s::bigint[]) as n (uri, fence)
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = n.uri and i.fence = n.fence and i.state = 'leased'
