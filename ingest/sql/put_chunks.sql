-- Write a document's chunks, given as one array a column. In: the columns. Out: chunk_id, in the order of ordinal.
with written as (
    insert into chunk (
        tenant_id, document_id, reader_set_id, ordinal, start_char, end_char, text, context, location, tokens,
        term_count, terms
    )
    select
        %(tenant)s, %(document_id)s, %(reader_set_id)s, c.ordinal, c.start_char, c.end_char, c.text, c.context,
        c.location, c.tokens, c.term_count, string_to_array(c.terms, ' ')
    from unnest(
        %(ordinals)s::integer[], %(starts)s::integer[], %(ends)s::integer[], %(texts)s::text[],
        %(contexts)s::text[], %(locations)s::jsonb[], %(tokens)s::integer[], %(term_counts)s::integer[],
        %(terms)s::text[]
    ) as c (ordinal, start_char, end_char, text, context, location, tokens, term_count, terms)
    returning chunk_id, ordinal
)
select chunk_id from written order by ordinal
