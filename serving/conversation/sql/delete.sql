-- A conversation and its turns; a row if it was there and the owner's.
delete from conversation where tenant_id = %(tenant)s and conversation_id = %(conversation)s returning conversation_id
