-- One run. In: tenant, run_id. Out: one row.
select
    run_id, number, kind, source, sources, uris, pipeline_hash, state, settled, counts, chunks, tokens, seconds, message,
    started_at, finished_at
from run
where tenant_id = %(tenant)s and run_id = %(run_id)s
