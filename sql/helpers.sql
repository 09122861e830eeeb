-- helpers.sql: roles, version, and the small functions that others stand on.

-- Administrators may call it, who own none of what it changes.
CREATE OR REPLACE FUNCTION pgq.upgrade_schema()
RETURNS int4 AS $$
DECLARE
	new_role text;
BEGIN
	FOREACH new_role IN ARRAY '{pgq_reader, pgq_writer, pgq_admin}'::text[]
	LOOP
		PERFORM FROM pg_catalog.pg_roles WHERE rolname = new_role;
		CONTINUE WHEN FOUND;
		BEGIN
			EXECUTE pg_catalog.format('CREATE ROLE %I', new_role);
			IF new_role = 'pgq_admin' THEN
				GRANT pgq_reader, pgq_writer TO pgq_admin;
			END IF;
		EXCEPTION
			WHEN unique_violation OR duplicate_object THEN
				-- Roles belong to the cluster: a session in another database
				-- was faster.
				NULL;
		END;
	END LOOP;

	-- Lacks of schemas made by early PgQ 3.
	IF EXISTS (SELECT FROM pg_catalog.pg_attribute
			   WHERE attrelid = 'pgq.subscription'::pg_catalog.regclass
				 AND attname = 'sub_last_tick' AND attnotnull) THEN
		ALTER TABLE pgq.subscription ALTER COLUMN sub_last_tick DROP NOT NULL;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
				   WHERE attrelid = 'pgq.queue'::pg_catalog.regclass
					 AND attname = 'queue_extra_maint'
					 AND NOT attisdropped) THEN
		ALTER TABLE pgq.queue ADD COLUMN queue_extra_maint text[];
	END IF;

	-- Queues made by PgQ 3, in this database or in the one that was dumped.
	IF to_regclass('pgq.event_table') IS NOT NULL THEN
		INSERT INTO pgq.event_table (evt_relid, evt_queue)
		SELECT child, q.queue_name
		FROM pgq.queue q, generate_series(0, q.queue_ntables - 1) AS i,
			 to_regclass(q.queue_data_pfx || '_' || i) AS child
		WHERE child IS NOT NULL
		  AND child NOT IN (SELECT evt_relid FROM pgq.event_table);
		IF FOUND THEN
			PERFORM pgq._invalidate_capture();
		END IF;
	END IF;
	RETURN 0;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.upgrade_schema() IS
	'Creates roles, columns and rows that a database of PgQ 3, or restored from a dump of one, lacks.';

-- The grants at the end of the script need the roles.
DO $$ BEGIN PERFORM pgq.upgrade_schema(); END $$;


CREATE OR REPLACE FUNCTION pgq.version()
RETURNS text AS $$
	SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'pgq'
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.version() IS
	'Returns the version of the PgQ extension installed in this database.';


CREATE OR REPLACE FUNCTION pgq.quote_fqname(i_name text)
RETURNS text AS $$
DECLARE
	dot int4 := pg_catalog.strpos(i_name, '.');
BEGIN
	IF dot = 0 THEN
		RETURN 'public.' || pg_catalog.quote_ident(i_name);
	END IF;
	RETURN pg_catalog.quote_ident(pg_catalog.substr(i_name, 1, dot - 1))
		|| '.' || pg_catalog.quote_ident(pg_catalog.substr(i_name, dot + 1));
END;
$$ LANGUAGE plpgsql STRICT IMMUTABLE SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.quote_fqname(text) IS
	'Quotes a schema.name pair split at its first dot, the schema being public when there is no dot.';


CREATE OR REPLACE FUNCTION pgq.seq_getval(i_seq_name text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_seq_getval'
LANGUAGE C VOLATILE STRICT;

COMMENT ON FUNCTION pgq.seq_getval(text) IS
	'Returns the last_value of a sequence without moving it.';


CREATE OR REPLACE FUNCTION pgq.seq_setval(i_seq_name text, i_new_value int8)
RETURNS int8 AS $$
BEGIN
	IF pgq.seq_getval(i_seq_name) < i_new_value THEN
		PERFORM pg_catalog.setval(
			pgq.quote_fqname(i_seq_name)::pg_catalog.regclass, i_new_value);
	END IF;
	RETURN pgq.seq_getval(i_seq_name);
END;
$$ LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.seq_setval(text, int8) IS
	'Raises a sequence to a value, never lowers it, and returns its last_value.';


CREATE OR REPLACE FUNCTION pgq._grant_perms_from(
	src_schema text, src_table text, dst_schema text, dst_table text)
RETURNS int4 AS $$
DECLARE
	g record;
BEGIN
	-- The owner's rights always carry the grant option.
	FOR g IN
		SELECT a.privilege_type,
			   CASE WHEN a.grantee = 0 THEN 'PUBLIC'
					ELSE pg_catalog.quote_ident(
						pg_catalog.pg_get_userbyid(a.grantee)) END AS grantee,
			   a.is_grantable OR a.grantee = c.relowner AS grantable
		FROM pg_catalog.pg_class c
			 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
			 LATERAL pg_catalog.aclexplode(coalesce(c.relacl,
				pg_catalog.acldefault('r', c.relowner)))
				WITH ORDINALITY AS a(grantor, grantee, privilege_type,
									 is_grantable, ord)
		WHERE n.nspname = src_schema AND c.relname = src_table
		ORDER BY a.ord
	LOOP
		EXECUTE pg_catalog.format('GRANT %s ON TABLE %I.%I TO %s%s',
			g.privilege_type, dst_schema, dst_table, g.grantee,
			CASE WHEN g.grantable THEN ' WITH GRANT OPTION' ELSE '' END);
	END LOOP;
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._grant_perms_from(text, text, text, text) IS
	'Grants on one table what is granted on another.';
