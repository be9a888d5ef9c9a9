-- A document as a reader sees it, whole, in one statement. In: path. Out: one row, or none.
select
    d.version, f.text,
    (select count(*) from chunk c where (c.tenant_id, c.document_id) = (f.tenant_id, f.document_id)) as chunks,
    coalesce((
        select array_agg(c.text order by c.ordinal)
        from chunk c where (c.tenant_id, c.document_id) = (f.tenant_id, f.document_id)
    ), '{}') as texts
from document d
join document f on f.tenant_id = d.tenant_id and f.document_id = d.holder
where d.tenant_id = current_tenant() and d.path = %(path)s
