-- Note how far a file came that is alone, so that what stops its worker can be told. In: tenant, run_id, uri, fence, stage,
-- content_hash.
update item set stage = %(stage)s, content_hash = %(content_hash)s
where tenant_id = %(tenant)s and run_id = %(run_id)s and uri = %(uri)s and fence = %(fence)s and state = 'leased'
