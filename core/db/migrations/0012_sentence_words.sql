-- The terms of every sentence and of the headings above it, as numbers (core/text/terms.py), so that a search can tell
-- how much of a question one sentence holds. Empty until a document is taken in anew.
do $$
declare
    version integer;
begin
    for version in select index_version_id from index_version
    loop
        execute format('alter table %I add column if not exists words integer[] not null default %L', 'sentence_' || version, '{}');
    end loop;
end
$$;
