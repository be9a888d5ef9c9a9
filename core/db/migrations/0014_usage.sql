-- Who may spend how much, and who spent what. A budget is for a tenant, a team or a key (`name` is '' for the tenant, and
-- '*' stands for each team or key that has none of its own), for a minute, a day or a month of UTC, and counts requests,
-- tokens or cost. Past `soft` a cheaper model should do, past `hard` nothing is given out. Only whoever runs the service
-- sets one (serving/usage/budgets.py): the application may read them and no more.
create table budget (
    tenant_id text not null,
    scope text not null check (scope in ('tenant', 'team', 'key')),
    name text not null,
    per text not null check (per in ('minute', 'day', 'month')),
    measure text not null check (measure in ('requests', 'tokens', 'cost')),
    soft numeric check (soft >= 0),
    hard numeric check (hard >= 0),
    primary key (tenant_id, scope, name, per, measure),
    check ((scope = 'tenant') = (name = '')),
    check (soft is not null or hard is not null),
    check (soft <= hard)
);

-- What was used of the budgets of one payer for one kind of time, since the beginning of the minute, day or month that it
-- was last used in. Its row is what calls of the same payer wait for, one after the other, for an instant; calls of others
-- never do. It is written often and stays small: half of each page is kept free for that.
create table balance (
    tenant_id text not null,
    scope text not null,
    name text not null,
    per text not null,
    since timestamptz not null,
    requests bigint not null default 0,
    tokens bigint not null default 0,
    cost numeric not null default 0,
    primary key (tenant_id, scope, name, per)
) with (fillfactor = 50);

-- What calls under way may still use. It counts until it is settled or has expired, so a process that dies holds nothing
-- back for long; what then stays here is a call of which nobody knows what it did use.
create table reservation (
    tenant_id text not null,
    reservation_id uuid not null,
    request_id uuid not null,
    team text not null,
    key text not null,
    model text not null,
    purpose text not null,
    tokens bigint not null,
    cost numeric not null,
    expires_at timestamptz not null,
    primary key (tenant_id, reservation_id)
);

create index on reservation (tenant_id, expires_at);

-- What each call to a model did use, for whom and for what. `counted`: by the provider, else by us. `tight`: a soft limit
-- was passed. Nothing here is ever changed or removed by the application.
create table usage (
    tenant_id text not null,
    usage_id uuid not null,
    request_id uuid not null,
    at timestamptz not null default now(),
    team text not null,
    key text not null,
    model text not null,
    purpose text not null,
    input_tokens bigint not null check (input_tokens >= 0),
    output_tokens bigint not null check (output_tokens >= 0),
    cost numeric not null check (cost >= 0),
    counted boolean not null,
    outcome text not null check (outcome in ('done', 'failed', 'cancelled')),
    tight boolean not null,
    primary key (tenant_id, usage_id)
);

create index on usage (tenant_id, at);

alter table budget enable row level security, force row level security;
alter table balance enable row level security, force row level security;
alter table reservation enable row level security, force row level security;
alter table usage enable row level security, force row level security;

create policy writer_works on budget to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on balance to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on reservation to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on usage to groundwork_writer, current_user using (tenant_id = (select current_tenant()));

grant select on budget to groundwork_writer;
grant select, insert, update on balance to groundwork_writer;
grant select, insert, delete on reservation to groundwork_writer;
grant select, insert on usage to groundwork_writer;
