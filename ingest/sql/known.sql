-- What the store knows of the files below a source. In: tenant, uri (of a file or, ending in a slash, of a folder).
-- Out: uri, content_hash, pipeline_hash, readers, tag, quarantined, reason, message, since.
select
    d.uri, d.content_hash, d.pipeline_hash, r.readers, d.source_tag as tag, false as quarantined, '' as reason,
    '' as message, d.ingested_at as since
from document d
join reader_set r using (tenant_id, reader_set_id)
where d.tenant_id = %(tenant)s and (d.uri = %(uri)s or (right(%(uri)s, 1) = '/' and starts_with(d.uri, %(uri)s)))
union all
select q.uri, q.content_hash, q.pipeline_hash, '{}', q.source_tag, true, q.reason, q.message, q.quarantined_at
from quarantine q
where q.tenant_id = %(tenant)s and (q.uri = %(uri)s or (right(%(uri)s, 1) = '/' and starts_with(q.uri, %(uri)s)))
