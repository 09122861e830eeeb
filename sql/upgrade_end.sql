-- upgrade_end.sql: tail of the upgrade from PgQ 3.

DO $$
DECLARE
	new record;
BEGIN
	-- Functions that run with the rights of the old tables' owner need the new
	-- ones, too.
	FOR new IN
		SELECT i.type, i.identity, o.rolname AS owner
		FROM pg_catalog.pg_depend d
			 LEFT JOIN pg_catalog.pg_class c
				ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
			   AND c.oid = d.objid AND c.relkind IN ('r', 'S')
			   -- a column's sequence goes with its table
			   AND NOT EXISTS (
				SELECT FROM pg_catalog.pg_depend o
				WHERE o.classid = d.classid AND o.objid = d.objid
				  AND o.deptype IN ('a', 'i'))
			 LEFT JOIN pg_catalog.pg_proc p
				ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
			   AND p.oid = d.objid
			 LEFT JOIN pg_catalog.pg_type t
				ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
			   AND t.oid = d.objid
			   -- row and array types go with theirs
			   AND t.typcategory <> 'A'
			   AND NOT EXISTS (
				SELECT FROM pg_catalog.pg_class r
				WHERE r.oid = t.typrelid AND r.relkind <> 'c'),
			 LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i,
			 pg_catalog.pg_class q
			 JOIN pg_catalog.pg_roles o ON o.oid = q.relowner
		WHERE d.deptype = 'e'
		  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
		  AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e
							WHERE e.extname = 'pgq')
		  AND q.oid = 'pgq.queue'::pg_catalog.regclass
		  AND coalesce(c.relowner, p.proowner, t.typowner) <> q.relowner
	LOOP
		EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I',
								  new.type, new.identity, new.owner);
	END LOOP;

	PERFORM pgq.upgrade_schema();
END;
$$;
