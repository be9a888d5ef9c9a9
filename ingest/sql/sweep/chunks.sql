-- In: tenant. Out: how many chunks have no document.
select count(*) from chunk c
where c.tenant_id = %(tenant)s and not exists (
    select from document d where d.tenant_id = c.tenant_id and d.document_id = c.document_id
)
