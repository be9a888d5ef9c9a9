-- Numbers for chunks that are about to be written. In: count. Out: chunk_id.
select nextval(pg_get_serial_sequence('chunk', 'chunk_id')) as chunk_id from generate_series(1, %(count)s)
