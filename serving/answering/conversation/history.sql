-- name: create_conversation
-- Create a conversation of an owner, which expires some days after its last question.
-- In: conversation, owner, days.
insert into conversation (tenant_id, conversation_id, owner, expires_at)
values (current_tenant(), %(conversation)s, %(owner)s, now() + make_interval(days => %(days)s))

-- name: latest_conversation
-- Find the owner's conversation with the latest question. In: tenant, owner.
select conversation_id from conversation
where tenant_id = %(tenant)s and owner = %(owner)s order by expires_at desc limit 1

-- name: conversation_exists
-- Return a row if the conversation exists; row-level security hides those of other owners.
-- In: tenant, conversation.
select 1 from conversation where tenant_id = %(tenant)s and conversation_id = %(conversation)s

-- name: read_turns
-- Read the last turns of a conversation, latest first, with the cited documents that the reader may
-- see. A standalone question with the title of a document that is gone is replaced by the question
-- as it was put.
-- In: tenant, conversation, max_turns. Out: question, asked_as, answered, titles, documents, at.
select
    t.question,
    case when t.leans_on is null or title_source.document_id is not null then t.asked_as else t.question end as asked_as,
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
left join document title_source on title_source.tenant_id = t.tenant_id and title_source.document_id = t.leans_on
where t.tenant_id = %(tenant)s and t.conversation_id = %(conversation)s
order by t.number desc
limit %(max_turns)s

-- name: extend_conversation
-- Postpone the expiry of a conversation, and lock it until its new turn is stored.
-- In: tenant, conversation, days. Out: a row if it exists and belongs to the owner.
update conversation set expires_at = now() + make_interval(days => %(days)s)
where tenant_id = %(tenant)s and conversation_id = %(conversation)s
returning conversation_id

-- name: add_turn
-- Add a turn with the next number.
-- In: tenant, conversation, owner, question, asked_as, answered, documents, leans_on.
insert into turn (tenant_id, conversation_id, number, owner, question, asked_as, answered, documents, leans_on)
select
    current_tenant(), %(conversation)s, coalesce(max(number), 0) + 1, %(owner)s, %(question)s, %(asked_as)s, %(answered)s,
    %(documents)s, %(leans_on)s
from turn where tenant_id = %(tenant)s and conversation_id = %(conversation)s

-- name: delete_oldest_turns
-- Delete all but the last turns. In: tenant, conversation, max_turns.
delete from turn
where tenant_id = %(tenant)s and conversation_id = %(conversation)s and number <= (
    select max(number) - %(max_turns)s from turn where tenant_id = %(tenant)s and conversation_id = %(conversation)s
)

-- name: delete_conversation
-- Delete a conversation with its turns. In: tenant, conversation.
-- Out: a row if it existed and belonged to the owner.
delete from conversation where tenant_id = %(tenant)s and conversation_id = %(conversation)s returning conversation_id

-- name: count_expired
-- Count a tenant's expired conversations. In: tenant.
select count(*) from conversation where tenant_id = %(tenant)s and expires_at <= now()

-- name: delete_expired
-- Delete a tenant's expired conversations, of all owners, and count them. In: tenant.
with deleted as (
    delete from conversation where tenant_id = %(tenant)s and expires_at <= now() returning 1
)
select count(*) from deleted
