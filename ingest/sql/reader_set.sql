-- The number of a set of readers, made if it is new. In: tenant, readers (sorted). Out: reader_set_id.
with made as (
    insert into reader_set (tenant_id, readers) values (%(tenant)s, %(readers)s)
    on conflict (tenant_id, readers) do nothing
    returning reader_set_id
)
select reader_set_id from made
union all
select reader_set_id from reader_set where tenant_id = %(tenant)s and readers = %(readers)s
limit 1
