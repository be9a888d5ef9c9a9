-- Write what a run has to do, one array a column; what a newer run has taken over meanwhile is not done here.
-- In: tenant, run_id, number, the columns.
insert into item (tenant_id, run_id, uri, action, source, path, readers, size, tag, alone, strikes, state, outcome)
select
    %(tenant)s, %(run_id)s, n.uri, n.action, n.source, n.path,
    string_to_array(n.readers, E'\x1f'), n.size,
    n.tag, n.alone, n.strikes,
    case when newer.taken then 'superseded' else 'waiting' end, case when newer.taken then 'superseded' else '' end
from unnest(
    %(uris)s::text[], %(actions)s::text[], %(sources)s::integer[], %(paths)s::text[], %(readers)s::text[],
    %(sizes)s::bigint[], %(tags)s::text[], %(alone)s::boolean[], %(strikes)s::integer[]
) as n (uri, action, source, path, readers, size, tag, alone, strikes)
cross join lateral (
    select exists (
        select from run r
        cross join unnest(r.uris) as u (uri)
        where r.tenant_id = %(tenant)s and r.number > %(number)s
        and (n.uri = u.uri or (right(u.uri, 1) = '/' and starts_with(n.uri, u.uri)))
    ) as taken
) newer
