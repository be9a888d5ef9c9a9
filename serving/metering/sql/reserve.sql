-- Set aside what a call may use at most. In: reservation_id, request_id, team, key, model, purpose, tokens, cost, seconds
-- (after which it counts no longer).
insert into reservation (
    tenant_id, reservation_id, request_id, team, key, model, purpose, tokens, cost, expires_at
)
values (
    current_tenant(), %(reservation_id)s, %(request_id)s, %(team)s, %(key)s, %(model)s, %(purpose)s, %(tokens)s, %(cost)s,
    now() + make_interval(secs => %(seconds)s)
)
