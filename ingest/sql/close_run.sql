-- Close a run when nothing of it is left to do; exactly one worker gets the row. In: tenant, run_id. Out: state.
with did as (
    select outcome, count(*) as files, sum(chunks) as chunks, sum(tokens) as tokens
    from item where tenant_id = %(tenant)s and run_id = %(run_id)s and outcome <> ''
    group by outcome
)
update run r
set state = case when exists (select from did where outcome = 'superseded') then 'superseded' else 'finished' end,
    finished_at = now(),
    chunks = coalesce((select sum(chunks) from did), 0), tokens = coalesce((select sum(tokens) from did), 0),
    counts = coalesce((
        select jsonb_object_agg(outcome, files)
        from (
            select outcome, sum(files)::bigint as files
            from (
                select outcome, files from did
                union all select key, value::bigint from jsonb_each_text(r.settled)
            ) each_state group by outcome
        ) total
    ), '{}')
where r.tenant_id = %(tenant)s and r.run_id = %(run_id)s and r.state = 'running'
and not exists (
    select from item i
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state in ('waiting', 'leased')
)
returning r.state
