-- Vectors by tenant: a large tenant may have a partition, and so a vector index, of its own (core/db/partitions.py); all
-- others share one. Whoever asks goes through the parent and its policies: nobody has a right to a partition itself.
do $$
declare
    version integer;
    parent text;
    shared text;
begin
    for version in select index_version_id from index_version
    loop
        parent := 'vector_' || version;
        shared := parent || '_shared';
        execute format('alter table %I rename to %I', parent, shared);
        execute format('alter index %I rename to %I', parent || '_pkey', shared || '_pkey');
        execute format('alter index %I rename to %I', parent || '_embedding_idx', shared || '_embedding_idx');
        execute format('drop policy reader_sees on %I', shared);
        execute format('drop policy writer_works on %I', shared);
        execute format('revoke all on %I from groundwork_reader, groundwork_writer', shared);
        execute format('create table %I (like %I) partition by list (tenant_id)', parent, shared);
        execute format('alter table %I add primary key (tenant_id, chunk_id)', parent);
        execute format(
            'alter table %I add foreign key (tenant_id, chunk_id) references chunk on delete cascade', parent
        );
        execute format('alter table %I attach partition %I default', parent, shared);
        execute format('create index %I on %I using hnsw (embedding halfvec_cosine_ops)', parent || '_embedding_idx', parent);
        execute format('alter table %I enable row level security, force row level security', parent);
        execute format(
            'create policy reader_sees on %I for select to groundwork_reader using (tenant_id = (select current_tenant())'
            ' and reader_set_id = any (array(select r.reader_set_id from reader_set r)))',
            parent
        );
        execute format(
            'create policy writer_works on %I to groundwork_writer, current_user'
            ' using (tenant_id = (select current_tenant()))',
            parent
        );
        execute format('grant select on %I to groundwork_reader', parent);
        execute format('grant select, insert, update, delete on %I to groundwork_writer', parent);
    end loop;
end
$$;
