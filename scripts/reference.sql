-- Writes doc/reference.md out of the catalogue of a database that has the
-- extension: what every function is for is said once, in its COMMENT ON.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET search_path = pg_catalog;

\echo '# Reference'
\echo
\echo 'Made from the extension itself: `psql -Xqf scripts/reference.sql` in a database'
\echo 'that has it writes this page, and a test compares. Functions are in schema `pgq`;'
\echo 'who may call one follows the roles: `pgq_reader` consumes, `pgq_writer` produces,'
\echo '`pgq_admin` is both and administers.'

WITH f AS (
    SELECT p.proname, p.oid,
           format('%s(%s)', p.proname, regexp_replace(
                pg_get_function_arguments(p.oid), ',? ?OUT .*$', '')) AS call,
           (SELECT CASE WHEN count(*) = 0 THEN pg_get_function_result(p.oid)
                        ELSE CASE WHEN p.proretset THEN 'rows of ' ELSE 'one row of ' END
                             || string_agg(a.name, ', ' ORDER BY a.n) END
            FROM unnest(p.proargnames, p.proargmodes::text[])
                 WITH ORDINALITY AS a(name, mode, n)
            WHERE a.mode IN ('o', 't')) AS result,
           obj_description(p.oid, 'pg_proc') AS comment,
           CASE WHEN has_function_privilege('public', p.oid, 'EXECUTE') THEN 1
                WHEN has_function_privilege('pgq_reader', p.oid, 'EXECUTE')
                     AND has_function_privilege('pgq_writer', p.oid, 'EXECUTE') THEN 4
                WHEN has_function_privilege('pgq_reader', p.oid, 'EXECUTE') THEN 3
                WHEN has_function_privilege('pgq_writer', p.oid, 'EXECUTE') THEN 2
                WHEN has_function_privilege('pgq_admin', p.oid, 'EXECUTE') THEN 5
           END AS who
    FROM pg_proc p
    WHERE p.pronamespace = 'pgq'::regnamespace AND left(p.proname, 1) <> '_'
), lines AS (
    SELECT who, 0 AS part, '' AS proname, '' AS call, format(E'\n## %s\n',
        (ARRAY['For everyone', 'For producers (pgq_writer)', 'For consumers (pgq_reader)',
               'For producers and consumers', 'For administrators (pgq_admin)'])[who]) AS line
    FROM f WHERE who IS NOT NULL GROUP BY who
    UNION ALL
    SELECT who, 1, proname, call, format(E'`%s` → `%s`\n: %s\n', call, result, comment)
    FROM f WHERE who IS NOT NULL
)
SELECT line FROM lines ORDER BY who, part, proname COLLATE "C", call COLLATE "C";

\echo
\echo '## Tables'
\echo
\echo 'To look at, not to write to.'
\echo

SELECT format(E'`pgq.%s`\n: %s\n', c.relname, obj_description(c.oid, 'pg_class'))
FROM pg_class c
WHERE c.relnamespace = 'pgq'::regnamespace AND c.relkind = 'r'
  AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
ORDER BY c.relname COLLATE "C";
