-- The conversation of the reader's that was last spoken in.
select conversation_id from conversation
where tenant_id = %(tenant)s and owner = %(owner)s order by expires_at desc limit 1
