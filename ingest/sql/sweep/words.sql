-- How many terms the lexicon keeps that no chunk holds any longer. In: tenant. Out: one number.
select count(*) from lexicon where tenant_id = %(tenant)s and chunk_count = 0
