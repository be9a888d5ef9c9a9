-- Book what a call did use in place of what was set aside for it; once, however often it is tried. In: tenant, reservation_id, request_id, team, key, model,
-- purpose, input_tokens, output_tokens, cost, counted, outcome, tight.
with settled as (
    delete from reservation where tenant_id = %(tenant)s and reservation_id = %(reservation_id)s
)
insert into usage (
    tenant_id, usage_id, request_id, team, key, model, purpose, input_tokens, output_tokens, cost, counted, outcome, tight
)
values (
    current_tenant(), %(reservation_id)s, %(request_id)s, %(team)s, %(key)s, %(model)s, %(purpose)s, %(input_tokens)s,
    %(output_tokens)s, %(cost)s, %(counted)s, %(outcome)s, %(tight)s
)
on conflict (tenant_id, usage_id) do nothing
