-- Is the database ready for Groundwork? Out: one row, extension and schema as booleans.
select
    exists (select from pg_extension where extname = 'vector') as extension,
    to_regclass('groundwork.index_version') is not null as schema
