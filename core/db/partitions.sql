-- name: tenant_has_documents
-- Look up a tenant. In: tenant. Out: one row if it is known.
select 1 from reader_set where tenant_id = %s

-- name: create_partition
-- Move the vectors of a tenant from the shared partition to a partition of its own, with its own index.
-- In: {vectors}, {shared}, {own} (table names), {tenant}. Reads continue until the last step; writes to the shared
-- partition wait.
lock table {shared} in share row exclusive mode;

create table {own} (like {shared});
alter table {own} enable row level security, force row level security;
create policy building on {own} to current_user using (true);

insert into {own} select * from {shared} where tenant_id = {tenant};
delete from {shared} where tenant_id = {tenant};
alter table {own} add primary key (tenant_id, chunk_id);
create index on {own} using hnsw (embedding halfvec_cosine_ops) with (m = 24, ef_construction = 128);

drop policy building on {own};
alter table {vectors} attach partition {own} for values in ({tenant});
