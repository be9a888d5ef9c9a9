-- Write documents' chunks, given as one array a column; terms and bands separated by spaces. In: tenant, the columns.
insert into chunk (
    tenant_id, chunk_id, document_id, reader_set_id, ordinal, start_char, end_char, text, context, location, tokens,
    term_count, terms, bands
)
select
    %(tenant)s, c.chunk_id, c.document_id, c.reader_set_id, c.ordinal, c.start_char, c.end_char, c.text, c.context,
    c.location, c.tokens, c.term_count, string_to_array(c.terms, ' '), string_to_array(c.bands, ' ')::integer[]
from unnest(
    %(chunk_ids)s::bigint[], %(document_ids)s::uuid[], %(reader_set_ids)s::integer[], %(ordinals)s::integer[],
    %(starts)s::integer[], %(ends)s::integer[], %(texts)s::text[], %(contexts)s::text[], %(locations)s::jsonb[],
    %(tokens)s::integer[], %(lengths)s::integer[], %(terms)s::text[], %(bands)s::text[]
) as c (
    chunk_id, document_id, reader_set_id, ordinal, start_char, end_char, text, context, location, tokens, term_count,
    terms, bands
)
