-- How the planner and the vector index work, for one transaction. In: plan (force_generic_plan or force_custom_plan), joins
-- (on or off). Out: nothing of use.
--
-- Iterative: where a tenant, a group or a filter thins the neighbours out, the index goes on until it has enough. An
-- answer needs few rows of any table, found by key: so without a filter the plan is the same for every question, is made
-- once a connection, and has no join but the nested loop (joins off). A filter is planned with its values. No sort where
-- an index brings the order, and no JIT, whose compiling would take longer than the search.
select
    set_config('hnsw.iterative_scan', 'relaxed_order', true),
    set_config('hnsw.ef_search', '200', true),
    set_config('hnsw.max_scan_tuples', '10000000', true),  -- the default of 20,000 ends before a far corner is reached
    set_config('hnsw.scan_mem_multiplier', '32', true),
    set_config('plan_cache_mode', %(plan)s, true),
    set_config('enable_hashjoin', %(joins)s, true),
    set_config('enable_mergejoin', %(joins)s, true),
    set_config('enable_seqscan', %(joins)s, true),
    set_config('enable_bitmapscan', %(joins)s, true),
    set_config('enable_sort', 'off', true),
    set_config('jit', 'off', true)
