-- Whether the conversation is there and the reader's.
select 1 from conversation where tenant_id = %(tenant)s and conversation_id = %(conversation)s
