-- Open a run in the ledger. In: tenant, run_id, kind, source.
insert into run (tenant_id, run_id, kind, source, state) values (%(tenant)s, %(run_id)s, %(kind)s, %(source)s, 'running')
