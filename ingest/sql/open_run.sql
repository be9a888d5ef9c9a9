-- Open a run that still has to look what there is to do. In: tenant, run_id, kind, source, sources, pipeline_hash.
-- Out: number, started_at.
insert into run (tenant_id, run_id, kind, source, sources, pipeline_hash, state)
values (%(tenant)s, %(run_id)s, %(kind)s, %(source)s, %(sources)s, %(pipeline_hash)s, 'planning')
returning number, started_at
