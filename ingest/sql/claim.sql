-- Lease a batch: files that nobody has, first those to take in, then those to delete; a file that is to be alone makes a
-- batch by itself. One that failed too often is for `condemn`, also where that became known only since it looked.
-- Each claim raises the fence. In: tenant, run_id, worker, strikes (too many), most (files), most_bytes, seconds.
-- Out: a row for each file.
with first as (
    select i.action, i.alone
    from item i
    join run r using (tenant_id, run_id)
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'waiting' and r.state = 'running'
    and (i.strikes < %(strikes)s or i.action = 'delete')
    and (i.action = 'take in' or not exists (
        select from item o
        where o.tenant_id = %(tenant)s and o.run_id = %(run_id)s and o.action = 'take in'
        and o.state in ('waiting', 'leased')
    ))
    order by i.action desc, i.alone, i.uri
    limit 1
    for update of i skip locked
),
free as (
    select i.uri, i.size
    from item i
    join first f on f.action = i.action and f.alone = i.alone
    where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.state = 'waiting'
    and (i.strikes < %(strikes)s or i.action = 'delete')
    order by i.uri
    limit (select case when alone then 1 else %(most)s end from first)
    for update of i skip locked
),
chosen as (
    select uri
    from (select uri, row_number() over (order by uri) as place, sum(size) over (order by uri) as bytes from free) f
    where place = 1 or bytes is null or bytes <= %(most_bytes)s
)
update item i
set state = 'leased', attempt = i.attempt + 1, fence = i.fence + 1, worker = %(worker)s,
    lease_until = now() + make_interval(secs => %(seconds)s)
from chosen
where i.tenant_id = %(tenant)s and i.run_id = %(run_id)s and i.uri = chosen.uri
returning i.uri, i.action, i.source, i.path, i.readers, i.size, i.tag, i.alone, i.attempt, i.strikes, i.fence
