-- Forget the content of documents that are the same as one that is not there: the next run of their source takes them in
-- anew. In: tenant. Out: how many.
with mended as (
    update document d
    set same_as = null, content_key = null, content_hash = '', source_tag = null
    where d.tenant_id = %(tenant)s and d.same_as is not null and not exists (
        select from document h
        where h.tenant_id = d.tenant_id and h.document_id = d.same_as and h.same_as is null
        and h.content_key = d.content_key and h.reader_set_id = d.reader_set_id
    )
    returning 1
)
select count(*) from mended
