-- What an expression means when its table is captured it means when it is
-- decoded: constants that depend on the session, words for the present time and
-- whatever looks up an object are refused.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
SELECT pgq.start_capture('regress_expr');
SELECT pgq.create_queue('expr_q');
CREATE TABLE expr_t (id int PRIMARY KEY, v text, d date, ts timestamp, tz timestamptz, tt timetz, iv interval,
    m money, o oid, c regclass, p pg_class, r daterange, j jsonb, ds date[]);

CREATE FUNCTION pg_temp.try(arg text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    PERFORM pgq.capture_table('expr_q', 'expr_t', arg);
    RETURN 'taken';
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN coalesce(nullif(detail, ''), SQLERRM) || E'\n' || hint;
END $$;
\pset format unaligned
\pset tuples_only

-- another day in another session
SET datestyle = 'ISO, DMY';
SELECT arg, pg_temp.try(arg) FROM unnest(array[
    'when=d >= ''31/12/2025''', 'when=d >= ''01/02/2026''', 'when=d = any (''{01/02/2026}'')',
    'when=r && ''[01/02/2026,)''', 'when=d < date ''1 Feb 2026''', 'when=d >= ''2026-02-01''']) arg;
SET datestyle = 'ISO, MDY';
SELECT arg, pg_temp.try(arg) FROM unnest(array[
    'when=d >= ''12/31/2025''', 'when=d >= ''01/02/2026''', 'when=d in (null, ''2026-02-01'')']) arg;
SET intervalstyle = 'sql_standard';
SELECT arg, pg_temp.try(arg) FROM unnest(array[
    'when=iv > ''-1 2:00''', 'when=iv > ''1 day 2 hours''', 'when=tz > ''2026-02-01''', 'when=tz > ''2026-02-01 00:00+01''',
    'when=tt > ''12:00''', 'when=tt > ''12:00+01''', 'when=ts > ''2026-02-01 12:00''', 'when=m > ''1''']) arg;

-- the present time
SELECT arg, pg_temp.try(arg) FROM unnest(array[
    'when=ts > ''now''', 'when=d >= ''today''', 'when=d in (''2026-02-01'', ''TOMORROW'')', 'when=tz < timestamptz ''yesterday 12:00+00''',
    'when=tt < ''now''', 'when=r && ''[today,)''', 'when=ds && ''{2026-02-01,today}''', 'when=d < ''infinity''',
    'when=v = ''today''', 'when=v || ''now'' <> ''today''', 'when=j @> ''"today"''']) arg;

-- objects, by oid and by name
SELECT arg, pg_temp.try(arg) FROM unnest(array[
    'ev_extra1=to_tsvector(''english'', v)', 'ev_extra1=to_tsvector(''english''::regconfig, v)', 'when=c = ''pg_class''::regclass',
    'ev_extra1=c', 'when=satisfies_hash_partition(o, 4, 1, id)', 'when=p = p', 'ev_extra1=ts_lexize(''english_stem'', v)',
    'ev_extra1=acldefault(''r'', o)', 'when=o = 5', 'ev_extra1=o::int8', 'when=o in (1, 2)', 'ev_extra1=pg_partition_root(''pg_class'')']) arg;

-- what it takes to fold constants
SELECT arg, pg_temp.try(arg) FROM unnest(array[
    'when=length(repeat(''x'', 20000000)) > id', 'ev_extra1=v || repeat(''x'', 20000000)', 'ev_extra1=v || repeat(''x'', 20)']) arg;
-- nothing of that stays behind
SHOW datestyle;
SHOW intervalstyle;
SHOW search_path;

-- decoded with whatever settings the reader has
SELECT pgq.capture_table('expr_q', 'expr_t', 'when=d >= ''2026-02-01'' and iv > ''-1 day'' and tz > ''2026-02-01 00:00+01''', 'ev_data=v');
INSERT INTO expr_t (id, v, d, iv, tz) VALUES (1, 'no', '2026-01-31', '1 hour', '2026-03-01 00:00+00'), (2, 'yes', '2026-02-01', '-2 hours', '2026-01-31 23:30+00'),
    (3, 'no', '2026-02-01', '-2 days', '2026-03-01 00:00+00'), (4, 'no', '2026-02-02', '1 hour', '2026-01-31 22:30+00');
SET datestyle = 'SQL, DMY'; SET intervalstyle = 'iso_8601'; SET timezone = 'Asia/Tokyo';
SELECT data::json->>'ev_data' FROM pg_logical_slot_get_changes('regress_expr', NULL, NULL);
SHOW timezone;

-- clean up
RESET ALL;
SET client_min_messages = warning;
DROP TABLE expr_t;
SELECT pgq.drop_queue('expr_q'), pgq.stop_capture();
