-- In: tenant. Out: how many chunks without a document were deleted, with all that hangs on them.
with gone as (
    delete from chunk c
    where c.tenant_id = %(tenant)s and not exists (
        select from document d where d.tenant_id = c.tenant_id and d.document_id = c.document_id
    )
    returning 1
)
select count(*) from gone
