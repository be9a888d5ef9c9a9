-- Let nobody else count until the transaction ends. In: tenant.
select 1 from reader_set where tenant_id = %(tenant)s order by reader_set_id for update
