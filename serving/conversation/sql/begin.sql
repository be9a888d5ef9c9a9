-- A new conversation of %(owner)s, kept for %(days)s days after its last question.
insert into conversation (tenant_id, conversation_id, owner, expires_at)
values (current_tenant(), %(conversation)s, %(owner)s, now() + make_interval(days => %(days)s))
