-- One more turn, the next in number.
insert into turn (tenant_id, conversation_id, number, owner, question, asked_as, answered, documents, leans_on)
select
    current_tenant(), %(conversation)s, coalesce(max(number), 0) + 1, %(owner)s, %(question)s, %(asked_as)s, %(answered)s,
    %(documents)s, %(leans_on)s
from turn where tenant_id = %(tenant)s and conversation_id = %(conversation)s
