/*
 * cppcheck.h
 *		What cppcheck has to know of PostgreSQL's macros, whose headers it is
 *		not given. Only scripts/lint uses it.
 */
#define PG_VERSION_NUM 150000
#define ERROR 21
#define FATAL 22
#define PANIC 23
#define ereport(level, ...) \
	do { if ((level) >= ERROR) abort(); } while (0)
#define elog(level, ...) ereport(level, 0)
#define Assert(c) do { if (!(c)) abort(); } while (0)
#define PG_FUNCTION_INFO_V1(f) extern int f##_v1
#define PG_MODULE_MAGIC extern int pg_module_magic
#define PG_TRY() if (1)
#define PG_CATCH() else
#define PG_FINALLY()
#define PG_END_TRY()
#define foreach(c, l) for ((c) = list_head(l); (c); (c) = lnext(l, c))
#define pg_attribute_noreturn() __attribute__((noreturn))
#define pg_attribute_printf(f, a)
#define pg_noreturn __attribute__((noreturn))
#define FLEXIBLE_ARRAY_MEMBER
#define PGDLLEXPORT
