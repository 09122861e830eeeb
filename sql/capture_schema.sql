-- capture_schema.sql: capture all tables of a schema, those made later too.
--
-- A rule in pgq.capture_schema is what capture_schema was told; every table
-- has a mark of its own, set when the rule is made or, by the event trigger
-- pgq_capture_ddl, when the table is.

CREATE OR REPLACE FUNCTION pgq._capture_schema_set(
	i_queue text, i_schema name, i_args text[])
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq__capture_schema_set' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_schema_set(text, name, text[]) IS
	'Notes that tables of a schema are to be captured; a part of capture_schema.';

CREATE OR REPLACE FUNCTION pgq._capture_schema_unset(i_queue text, i_schema name)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq__capture_schema_unset' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_schema_unset(text, name) IS
	'Forgets that tables of a schema are to be captured; a part of uncapture_schema.';


CREATE OR REPLACE FUNCTION pgq._capture_schema_tables(i_schema name)
RETURNS SETOF regclass AS 'MODULE_PATHNAME', 'pgq__capture_schema_tables'
LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_schema_tables(name) IS
	'Lists the tables of a schema that capture_schema is about.';


CREATE OR REPLACE FUNCTION pgq.capture_schema(
	i_queue text, i_schema name, VARIADIC i_args text[] DEFAULT '{}')
RETURNS int4 AS $$
DECLARE
	old_args text[];
	is_new int4;
	tab regclass;
	tab_args text[];
	-- Tables that are made later have no rows to copy.
	rule_args text[] := array_remove(i_args, 'copy');
BEGIN
	IF i_queue IS NULL OR i_schema IS NULL OR i_args IS NULL THEN
		RAISE EXCEPTION 'arguments of pgq.capture_schema() must not be null'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the names of the queue and of the schema.';
	END IF;
	SELECT r.cps_args INTO old_args FROM pgq.capture_schema r
	WHERE r.cps_schema = i_schema AND r.cps_queue = i_queue;
	is_new := pgq._capture_schema_set(i_queue, i_schema, rule_args);

	FOR tab, tab_args IN
		SELECT t.tab, i.arguments
		FROM pgq._capture_schema_tables(i_schema) t(tab)
			 LEFT JOIN pgq.get_capture_info(i_queue) i
				ON i.table_name = t.tab::text
		ORDER BY t.tab::oid
	LOOP
		-- Tables with arguments of their own keep them.
		IF tab_args IS NULL OR tab_args = old_args THEN
			PERFORM pgq.capture_table(i_queue, tab, VARIADIC i_args);
		END IF;
	END LOOP;
	RETURN is_new;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.capture_schema(text, name, text[]) IS
	'Captures all tables of a schema into a queue, those made later too; returns 1 when that is new.';


CREATE OR REPLACE FUNCTION pgq.uncapture_schema(i_queue text, i_schema name)
RETURNS int4 AS $$
DECLARE
	old_args text[];
	gone int4;
	tab regclass;
BEGIN
	SELECT r.cps_args INTO old_args FROM pgq.capture_schema r
	WHERE r.cps_schema = i_schema AND r.cps_queue = i_queue;
	gone := pgq._capture_schema_unset(i_queue, i_schema);

	FOR tab IN
		SELECT t.tab FROM pgq._capture_schema_tables(i_schema) t(tab)
			 JOIN pgq.get_capture_info(i_queue) i ON i.table_name = t.tab::text
		WHERE i.arguments = old_args
		ORDER BY t.tab::oid
	LOOP
		PERFORM pgq.uncapture_table(i_queue, tab);
	END LOOP;
	RETURN coalesce(gone, 0);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.uncapture_schema(text, name) IS
	'Ends the capture of a schema''s tables, but for those with arguments of their own; returns 1, or 0 when there was none.';
