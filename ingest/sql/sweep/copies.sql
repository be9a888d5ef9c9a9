-- In: tenant. Out: how many documents are the same as one that is not there, or holds something else.
select count(*) from document d
where d.tenant_id = %(tenant)s and d.same_as is not null and not exists (
    select from document h
    where h.tenant_id = d.tenant_id and h.document_id = d.same_as and h.same_as is null
    and h.content_key = d.content_key and h.reader_set_id = d.reader_set_id
)
