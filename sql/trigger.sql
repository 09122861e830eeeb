-- trigger.sql: trigger functions that write a table's changes into a queue.
-- The first argument is the queue; doc/triggers.md has the others.

CREATE OR REPLACE FUNCTION pgq.jsontriga() RETURNS trigger
AS 'MODULE_PATHNAME', 'pgq_jsontriga' LANGUAGE C;
COMMENT ON FUNCTION pgq.jsontriga() IS
	'Trigger function: writes each change of a row into a queue, the row as a JSON object.';

CREATE OR REPLACE FUNCTION pgq.logutriga() RETURNS trigger
AS 'MODULE_PATHNAME', 'pgq_logutriga' LANGUAGE C;
COMMENT ON FUNCTION pgq.logutriga() IS
	'Trigger function: writes each change of a row into a queue, the row url-encoded.';

CREATE OR REPLACE FUNCTION pgq.sqltriga() RETURNS trigger
AS 'MODULE_PATHNAME', 'pgq_sqltriga' LANGUAGE C;
COMMENT ON FUNCTION pgq.sqltriga() IS
	'Trigger function: writes each change of a row into a queue, as a fragment of an SQL statement.';
