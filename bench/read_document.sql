-- A document as a reader sees it, whole, in one statement. In: path. Out: one row, or none.
select
    d.version, d.text,
    (select count(*) from chunk c where (c.tenant_id, c.document_id) = (d.tenant_id, d.document_id)) as chunks,
    coalesce((
        select array_agg(c.text order by c.ordinal)
        from chunk c where (c.tenant_id, c.document_id) = (d.tenant_id, d.document_id)
    ), '{}') as texts
from document d
where d.tenant_id = current_tenant() and d.path = %(path)s
