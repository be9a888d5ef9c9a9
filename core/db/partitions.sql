-- name: give_partition
-- Move a tenant's vectors from the shared partition into one of its own, with its own index. In: {vectors}, {shared}, {own}
-- (table names), {tenant}. Who reads goes on reading until the last moment; who writes into the shared partition waits.
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
