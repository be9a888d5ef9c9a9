-- Take back what a worker did not renew in time. If the file was alone it counts against it; else it will be, so that
-- only the file that stops its workers is put aside in the end. In: tenant, run_id. Out: uri.
with expired as (
    select uri from item
    where tenant_id = %(tenant)s and run_id = %(run_id)s and state = 'leased' and lease_until < now()
    order by uri
    for update skip locked
)
update item i
set state = 'waiting', alone = true, strikes = i.strikes + i.alone::integer, lease_until = null,
    reason = 'abandoned',
    message = i.path || ' stopped the worker that had it, again and again; leave it out with --exclude, or split it.'
from expired
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = expired.uri
returning i.uri
