-- Drop answers that are too old or, the oldest first, too many. In: tenant, hours, most.
delete from response r
using (
    select tenant_id, key from response
    where tenant_id = %(tenant)s and created_at <= greatest(
        now() - make_interval(hours => %(hours)s),
        (
            select created_at from response
            where tenant_id = %(tenant)s
            order by created_at desc
            offset %(most)s limit 1
        )
    )
    for update skip locked
) surplus
where r.tenant_id = surplus.tenant_id and r.key = surplus.key
