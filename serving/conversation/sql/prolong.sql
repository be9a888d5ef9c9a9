-- Keep a conversation for %(days)s days from now, and hold it while a turn is added; a row if it is there and the owner's.
update conversation set expires_at = now() + make_interval(days => %(days)s)
where tenant_id = %(tenant)s and conversation_id = %(conversation)s
returning conversation_id
