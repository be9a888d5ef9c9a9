-- Drop all answers that were kept for a tenant. In: tenant.
delete from response where tenant_id = %(tenant)s
