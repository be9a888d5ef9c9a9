-- The turns before the last %(most)s go.
delete from turn
where tenant_id = %(tenant)s and conversation_id = %(conversation)s and number <= (
    select max(number) - %(most)s from turn where tenant_id = %(tenant)s and conversation_id = %(conversation)s
)
