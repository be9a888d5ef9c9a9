-- What became of a run's files. In: tenant, run_id. Out: a row for each that came to an end.
select uri, path, outcome as state, chunks, tokens, reason, message
from item
where tenant_id = %(tenant)s and run_id = %(run_id)s and outcome <> ''
order by uri
