-- A run's work is written down; workers may come. In: tenant, run_id, settled (states and how many files are in each).
update run set state = 'running', settled = %(settled)s, heartbeat_at = now()
where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'planning'
