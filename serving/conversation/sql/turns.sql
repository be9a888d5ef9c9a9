-- The last %(most)s turns of a conversation, latest first: question, asked_as, answered, and the titles of the cited documents
-- that are there and may be seen by whoever reads. Nothing where there is no such conversation of theirs.
select
    t.question,
    case when t.leans_on is null or leant.document_id is not null then t.asked_as else t.question end as asked_as,
    t.answered,
    array(
        select d.title from unnest(t.documents) with ordinality as cited (document_id, place)
        join document d on d.tenant_id = t.tenant_id and d.document_id = cited.document_id
        order by cited.place
    ) as titles,
    array(
        select d.document_id from unnest(t.documents) with ordinality as cited (document_id, place)
        join document d on d.tenant_id = t.tenant_id and d.document_id = cited.document_id
        order by cited.place
    ) as documents,
    t.at
from turn t
join conversation c on c.tenant_id = t.tenant_id and c.conversation_id = t.conversation_id
left join document leant on leant.tenant_id = t.tenant_id and leant.document_id = t.leans_on
where t.tenant_id = %(tenant)s and t.conversation_id = %(conversation)s
order by t.number desc
limit %(most)s
