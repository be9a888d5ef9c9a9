-- Write down what became of files, in the transaction that stored them, with the version that was made of each document.
-- In: tenant, run_id, one array a column.
-- Out: uri, for each that was still ours.
update item i
set state = 'done', outcome = n.outcome, stage = n.stage, reason = n.reason, message = n.message, chunks = n.chunks,
    tokens = n.tokens, lease_until = null, version = d.version, content_hash = coalesce(d.content_hash, i.content_hash)
from unnest(
    %(uris)s::text[], %(fences)s::bigint[], %(outcomes)s::text[], %(stages)s::text[], %(reasons)s::text[],
    %(messages)s::text[], %(chunks)s::integer[], %(tokens)s::integer[]
) as n (uri, fence, outcome, stage, reason, message, chunks, tokens)
left join document d
    on d.tenant_id = %(tenant)s and d.uri = n.uri and n.outcome in ('added', 'changed', 'duplicate')
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = n.uri and i.fence = n.fence and i.state = 'leased'
returning i.uri
