-- Runs of a tenant decide one after the other what is theirs. Held until the transaction ends. In: tenant.
select pg_advisory_xact_lock(hashtext('groundwork plan'), hashtext(%(tenant)s))
