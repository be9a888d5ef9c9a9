-- name: begin
-- A new conversation of %(owner)s, kept for %(days)s days after its last question.
insert into conversation (tenant_id, conversation_id, owner, expires_at)
values (current_tenant(), %(conversation)s, %(owner)s, now() + make_interval(days => %(days)s))

-- name: latest
-- The conversation of the reader's that was last spoken in.
select conversation_id from conversation
where tenant_id = %(tenant)s and owner = %(owner)s order by expires_at desc limit 1

-- name: exists
-- Whether the conversation is there and the reader's.
select 1 from conversation where tenant_id = %(tenant)s and conversation_id = %(conversation)s

-- name: turns
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

-- name: prolong
-- Keep a conversation for %(days)s days from now, and hold it while a turn is added; a row if it is there and the owner's.
update conversation set expires_at = now() + make_interval(days => %(days)s)
where tenant_id = %(tenant)s and conversation_id = %(conversation)s
returning conversation_id

-- name: add_turn
-- One more turn, the next in number.
insert into turn (tenant_id, conversation_id, number, owner, question, asked_as, answered, documents, leans_on)
select
    current_tenant(), %(conversation)s, coalesce(max(number), 0) + 1, %(owner)s, %(question)s, %(asked_as)s, %(answered)s,
    %(documents)s, %(leans_on)s
from turn where tenant_id = %(tenant)s and conversation_id = %(conversation)s

-- name: forget_turns
-- The turns before the last %(most)s go.
delete from turn
where tenant_id = %(tenant)s and conversation_id = %(conversation)s and number <= (
    select max(number) - %(most)s from turn where tenant_id = %(tenant)s and conversation_id = %(conversation)s
)

-- name: delete
-- A conversation and its turns; a row if it was there and the owner's.
delete from conversation where tenant_id = %(tenant)s and conversation_id = %(conversation)s returning conversation_id

-- name: expired
-- How many conversations of the tenant's have expired.
select count(*) from conversation where tenant_id = %(tenant)s and expires_at <= now()

-- name: sweep
-- The expired conversations of the tenant's go, whoever's they were.
with gone as (
    delete from conversation where tenant_id = %(tenant)s and expires_at <= now() returning 1
)
select count(*) from gone
