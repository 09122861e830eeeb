/*-------------------------------------------------------------------------
 *
 * trust.h
 *		Whose code a database would have us run: statements that look before
 *		anything of PgQ is called there.
 *
 * A database belongs to somebody, who may have put anything into it under any
 * name.  Trusted are superusers, and roles that we were told of
 * ("database_owners").  A schema of PgQ may be used if it belongs to
 * the extension of its name, and if the extension, the schema and all that is
 * in it are owned by trusted roles, and no other role may create anything
 * there, or triggers on its tables.  Only a trusted role can change that
 * afterwards, so it is enough to look once in a session.
 *
 * No statement here uses a function, an operator or a type that is not
 * PostgreSQL's own, whatever search_path is.  What to do about an answer is in
 * advice.c.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef TRUST_H
#define TRUST_H

/* Names such roles for those that have no ini file. */
#define TRUST_VARIABLE "PGQ_DATABASE_OWNERS"

/*
 * Oids of the trusted roles, as WITH clause; $1 are the names of those that
 * we were told of, with commas between, or NULL.  The owner of a database stands
 * behind pg_database_owner.  Who asks plays no part: the owner of a database may
 * set "role" for its sessions, and code that ran there could set it back.
 */
#define TRUST_ROLES                                                            \
	"with named as materialized (select r.oid from pg_catalog.pg_roles r"      \
	" where r.rolsuper or r.rolname::pg_catalog.text"                          \
	" operator(pg_catalog.=) any (pg_catalog.regexp_split_to_array("           \
	"pg_catalog.btrim($1::pg_catalog.text), '\\s*,\\s*'))),"                   \
	" trusted as materialized (select n.oid from named n union all"            \
	" select r.oid from pg_catalog.pg_roles r, pg_catalog.pg_database d"       \
	" where r.rolname operator(pg_catalog.=) 'pg_database_owner'"              \
	" and d.datname operator(pg_catalog.=) pg_catalog.current_database()"      \
	" and d.datdba operator(pg_catalog.=) any (select n.oid from named n))"

/* Is this oid none of theirs? */
#define TRUST_NOT(oid)                                                         \
	"not " oid " operator(pg_catalog.=) any (select t.oid from trusted t)"

/* Does a role that is not trusted have this right, by this list? */
#define TRUST_GRANTEE(acl, right)                                              \
	"pg_catalog.aclexplode(" acl ") a"                                         \
	" where a.privilege_type operator(pg_catalog.=) '" right "'"               \
	" and " TRUST_NOT("a.grantee")

#define TRUST_ROLE_NAME(oid)                                                   \
	"case when " oid " operator(pg_catalog.=) 0 then 'PUBLIC' else"            \
	" pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(" oid ")::"            \
	"pg_catalog.text) end"

/*
 * May schema $2 be used, the schema of the extension of this name?  One row:
 * the extension's version and why the schema may not be used; both are NULL if
 * neither is there, and the second if all is well.
 */
/* clang-format off */
#define TRUST_SQL                                                              \
	TRUST_ROLES                                                                \
	", s as materialized (select w.name, n.oid, n.nspowner, n.nspacl,"         \
	" e.oid as ext, e.extversion, e.extowner,"                                 \
	" n.oid operator(pg_catalog.=) e.extnamespace or exists (select"           \
	" from pg_catalog.pg_depend d"                                             \
	" where d.classid operator(pg_catalog.=)"                                  \
	" 'pg_catalog.pg_namespace'::pg_catalog.regclass"                          \
	" and d.objid operator(pg_catalog.=) n.oid"                                \
	" and d.refclassid operator(pg_catalog.=)"                                 \
	" 'pg_catalog.pg_extension'::pg_catalog.regclass"                          \
	" and d.refobjid operator(pg_catalog.=) e.oid"                             \
	" and d.deptype operator(pg_catalog.=) 'e') as is_member"                  \
	" from (values ($2::pg_catalog.text)) w (name)"                            \
	" left join pg_catalog.pg_namespace n"                                     \
	" on n.nspname::pg_catalog.text operator(pg_catalog.=) w.name"             \
	" left join pg_catalog.pg_extension e"                                     \
	" on e.extname::pg_catalog.text operator(pg_catalog.=) w.name)"            \
	" select s.extversion, case"                                               \
	" when s.oid is null and s.ext is null then null"                          \
	" when s.ext is null then pg_catalog.format("                              \
	"'schema \"%s\" is there, but no extension \"%s\"', s.name, s.name)"       \
	" when " TRUST_NOT("s.extowner") " then pg_catalog.format("                \
	"'extension \"%s\" belongs to role %s, who is not trusted', s.name, "      \
	TRUST_ROLE_NAME("s.extowner") ")"                                          \
	" when s.oid is null then pg_catalog.format("                              \
	"'extension \"%s\" has no schema \"%s\"', s.name, s.name)"                 \
	" when not s.is_member then pg_catalog.format("                            \
	"'schema \"%s\" is not that of extension \"%s\"', s.name, s.name)"         \
	" when " TRUST_NOT("s.nspowner") " then pg_catalog.format("                \
	"'schema \"%s\" belongs to role %s, who is not trusted', s.name, "         \
	TRUST_ROLE_NAME("s.nspowner") ")"                                          \
	" else coalesce((select pg_catalog.format("                                \
	"'%s may create objects in schema \"%s\"', " TRUST_ROLE_NAME("a.grantee")  \
	", s.name) from " TRUST_GRANTEE("s.nspacl", "CREATE") " limit 1),"         \
	" (select pg_catalog.format("                                              \
	"'function %s belongs to role %s, who is not trusted',"                    \
	" p.oid::pg_catalog.regprocedure::pg_catalog.text, "                       \
	TRUST_ROLE_NAME("p.proowner") ") from pg_catalog.pg_proc p"                \
	" where p.pronamespace operator(pg_catalog.=) s.oid"                       \
	" and " TRUST_NOT("p.proowner") " limit 1),"                               \
	" (select pg_catalog.format("                                              \
	"'relation %s belongs to role %s, who is not trusted',"                    \
	" c.oid::pg_catalog.regclass::pg_catalog.text, "                           \
	TRUST_ROLE_NAME("c.relowner") ") from pg_catalog.pg_class c"               \
	" where c.relnamespace operator(pg_catalog.=) s.oid"                       \
	" and c.relkind operator(pg_catalog.=) any"                                \
	" ('{r,p,v,m,f,S}'::pg_catalog.\"char\"[])"                                \
	" and " TRUST_NOT("c.relowner") " limit 1),"                               \
	" (select pg_catalog.format('%s may make triggers on table %s', "          \
	TRUST_ROLE_NAME("a.grantee")                                               \
	", c.oid::pg_catalog.regclass::pg_catalog.text)"                           \
	" from pg_catalog.pg_class c, "                                            \
	TRUST_GRANTEE("c.relacl", "TRIGGER")                                       \
	" and c.relnamespace operator(pg_catalog.=) s.oid limit 1)) end from s"
/* clang-format on */

/*
 * May function $2, a quoted name with its schema, be called with a text
 * ($3 true) or without arguments?  One row if so, none if not.
 *
 * Other functions of the name do no harm, since the one that takes just these
 * types is called; nobody but the schema's owner could put another in its
 * place.
 */
#define TRUST_FUNCTION_SQL                                                     \
	TRUST_ROLES                                                                \
	" select 1 from pg_catalog.pg_proc p, pg_catalog.pg_namespace n"           \
	" where p.oid operator(pg_catalog.=) pg_catalog.to_regprocedure("          \
	"pg_catalog.concat($2::pg_catalog.text, case when $3::pg_catalog.bool"     \
	" then '(pg_catalog.text)' else '()' end))::pg_catalog.oid"                \
	" and n.oid operator(pg_catalog.=) p.pronamespace"                         \
	" and p.proowner operator(pg_catalog.=) any (select t.oid from trusted t)" \
	" and n.nspowner operator(pg_catalog.=) any (select t.oid from trusted t)"
#endif /* TRUST_H */
