-- Close a run in the ledger. In: tenant, run_id, state, counts, seconds.
update run set state = %(state)s, counts = %(counts)s, seconds = %(seconds)s, finished_at = now()
where tenant_id = %(tenant)s and run_id = %(run_id)s
