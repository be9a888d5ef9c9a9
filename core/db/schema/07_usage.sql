-- Budgets and usage of language models.

-- A limit for a tenant, a team or a key, for each minute, day or month (UTC), on requests, tokens or cost.
-- `name` is '' for the tenant; '*' applies to each team or key without a budget of its own. Above `soft`, a cheaper
-- model is used; above `hard`, calls are refused. Only the operator sets budgets (serving/usage/budgets.py): the
-- application may only read them.
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

-- Usage of one subject since the beginning of the minute, day or month in `since`. Calls of the same subject wait for
-- its row one after the other, for an instant; calls of other subjects do not. The rows change often: half of each
-- page stays free for updates in place.
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

-- The most that a running call may still use. It counts until the call ends or the reservation expires, so a process
-- that dies blocks a budget for a short time only. A row that stays here is a call that ended without a usage report.
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

-- Usage of each call: caller, model, purpose, tokens and cost. `counted`: the provider reported the tokens, otherwise
-- they are estimated. `tight`: a soft limit was exceeded. The application never changes or deletes a row.
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

-- A writer sees all rows of its tenant; the grants below limit its changes.
create policy writer_works on budget to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on balance to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on reservation to groundwork_writer, current_user using (tenant_id = (select current_tenant()));
create policy writer_works on usage to groundwork_writer, current_user using (tenant_id = (select current_tenant()));

grant select on budget to groundwork_writer;
grant select, insert, update on balance to groundwork_writer;
grant select, insert, delete on reservation to groundwork_writer;
grant select, insert on usage to groundwork_writer;
