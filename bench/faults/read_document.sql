-- A document as a reader finds it by its path. In: path. Out: a row; none where it isn't there, several where it is
-- there more than once. The holder is the document that has the chunks, which for a duplicate is another.
select d.document_id, f.document_id as holder, f.text
from document d
join document f on f.tenant_id = d.tenant_id and f.document_id = d.holder
where d.tenant_id = current_tenant() and d.path = %(path)s
