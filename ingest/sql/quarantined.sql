-- Files that were put aside, by path. In: tenant. Out: a row each.
select uri, path, stage, reason, message, attempts, run_id, quarantined_at
from quarantine
where tenant_id = %(tenant)s
order by path, uri
