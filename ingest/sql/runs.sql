-- A tenant's runs, newest first. In: tenant, limit. Out: a row each.
select
    run_id, number, kind, source, sources, uris, pipeline_hash, state, settled, counts, chunks, tokens, seconds, message,
    started_at, finished_at
from run
where tenant_id = %(tenant)s
order by number desc
limit %(limit)s
