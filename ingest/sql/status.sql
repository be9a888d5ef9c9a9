-- What a tenant holds. In: tenant. Out: one row.
select
    coalesce(sum(r.document_count), 0)::bigint as documents,
    coalesce(sum(r.chunk_count), 0)::bigint as chunks,
    coalesce(sum(r.document_count) filter (where r.readers <> '{}'), 0)::bigint as restricted_documents,
    (select count(*) from quarantine q where q.tenant_id = %(tenant)s) as put_aside,
    (
        select to_char(max(run.finished_at) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        from run where run.tenant_id = %(tenant)s and run.state = 'finished'
    ) as last_run
from reader_set r
where r.tenant_id = %(tenant)s
