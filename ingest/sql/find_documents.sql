-- The documents that a uri, a path or an id names. In: tenant, name. Out: a row each.
select
    d.document_id, d.uri, d.path, d.title, d.media_type, d.version, r.readers, d.content_hash, d.pipeline_hash,
    d.source_tag, d.metadata, d.edition, length(f.text) as characters, d.ingested_at, d.run_id, run.kind as run_kind,
    run.source as run_source, run.started_at as run_started_at
from document d
join reader_set r using (tenant_id, reader_set_id)
join document f on f.tenant_id = d.tenant_id and f.document_id = d.holder
left join run on run.tenant_id = d.tenant_id and run.run_id = d.run_id
where d.tenant_id = %(tenant)s and (d.uri = %(name)s or d.path = %(name)s or d.document_id::text = %(name)s)
order by d.uri
limit 10
