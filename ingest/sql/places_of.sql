-- All documents that are the same as one, itself left out. In: tenant, document_id. Out: a row each, by path.
select d.document_id, d.uri, d.path, d.title, d.version, d.edition, d.same_as is null as first
from document own
join document d on d.tenant_id = own.tenant_id and d.holder = own.holder and d.document_id <> own.document_id
where own.tenant_id = %(tenant)s and own.document_id = %(document_id)s
order by d.path, d.uri
