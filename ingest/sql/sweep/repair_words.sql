-- Forget the terms that no chunk holds any longer. In: tenant. Out: how many.
with forgotten as (
    delete from lexicon where tenant_id = %(tenant)s and chunk_count = 0 returning 1
)
select count(*) from forgotten
