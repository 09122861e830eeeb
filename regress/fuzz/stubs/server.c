/*-------------------------------------------------------------------------
 *
 * server.c
 *		As much of the server as event/ and decoder/options.c call, so that
 *		they can be fuzzed without one.
 *
 * Memory is malloc's, so that the sanitizers see each piece; an error is a
 * longjmp, with its messages formatted, so that their arguments are looked at.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "regress/fuzz/stubs/server.h"

#include <setjmp.h>

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#undef vsnprintf

int server_errcode;

static jmp_buf *on_error;
static int error_level;

/* All that is palloc'd: each piece with a link to the one before. */
typedef struct Piece
{
	struct Piece *next;
	struct Piece **link;
} Piece;

static Piece *pieces;

static void
link_piece(Piece *piece)
{
	piece->next = pieces;
	piece->link = &pieces;
	if (pieces)
		pieces->link = &piece->next;
	pieces = piece;
}

static void
unlink_piece(Piece *piece)
{
	*piece->link = piece->next;
	if (piece->next)
		piece->next->link = piece->link;
}

bool
server_try(void (*body)(void *arg), void *arg)
{
	jmp_buf here;

	on_error = &here;
	if (setjmp(here) != 0)
	{
		on_error = NULL;
		return false;
	}
	body(arg);
	on_error = NULL;
	return true;
}

void
server_reset(void)
{
	while (pieces)
		pfree(pieces + 1);
}

void *
palloc(Size size)
{
	Piece *piece;

	if (size > MaxAllocSize)
		elog(ERROR, "invalid memory alloc request size %zu", size);
	piece = malloc(sizeof(Piece) + size);
	if (piece == NULL)
		abort();
	link_piece(piece);
	return piece + 1;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
repalloc(void *pointer, Size size)
{
	Piece *piece = (Piece *) pointer - 1;

	if (size > MaxAllocSize)
		elog(ERROR, "invalid memory alloc request size %zu", size);
	unlink_piece(piece);
	piece = realloc(piece, sizeof(Piece) + size);
	if (piece == NULL)
		abort();
	link_piece(piece);
	return piece + 1;
}

void
pfree(void *pointer)
{
	Piece *piece = (Piece *) pointer - 1;

	unlink_piece(piece);
	free(piece);
}

char *
pnstrdup(const char *in, Size len)
{
	char *out;

	len = strnlen(in, len);
	out = palloc(len + 1);
	memcpy(out, in, len);
	out[len] = '\0';
	return out;
}

char *
pstrdup(const char *in)
{
	return pnstrdup(in, strlen(in));
}

char *
text_to_cstring(const text *t)
{
	return pnstrdup(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

List *
lappend(List *list, void *datum)
{
	if (list == NIL)
	{
		list = palloc0(sizeof(List));
		list->type = T_List;
		list->elements = palloc(sizeof(ListCell));
	}
	else
		list->elements = repalloc(list->elements,
								  (list->length + 1) * sizeof(ListCell));
	list->elements[list->length++].ptr_value = datum;
	return list;
}

void
initStringInfo(StringInfo str)
{
	memset(str, 0, sizeof(*str));
	str->maxlen = 16;
	str->data = palloc(str->maxlen);
	str->data[0] = '\0';
}

void
enlargeStringInfo(StringInfo str, int needed)
{
	if (needed < 0 || (Size) needed >= MaxAllocSize - (Size) str->len)
		elog(ERROR, "string buffer exceeds maximum allowed length");
	str->maxlen = str->len + needed + 1;
	str->data = repalloc(str->data, str->maxlen);
}

#if PG_VERSION_NUM >= 160000
#define BINARY const void
#else
#define BINARY const char
#endif

void
appendBinaryStringInfo(StringInfo str, BINARY *data, int datalen)
{
	enlargeStringInfo(str, datalen);
	memcpy(str->data + str->len, data, datalen);
	str->len += datalen;
	str->data[str->len] = '\0';
}

void
appendStringInfoChar(StringInfo str, char ch)
{
	appendBinaryStringInfo(str, &ch, 1);
}

/* The words behind an array that server_make_array() made. */
typedef struct WordArray
{
	ArrayType array;
	char **words;
	int nwords;
} WordArray;

ArrayType *
server_make_array(char **words, int nwords)
{
	WordArray *a = palloc0(sizeof(WordArray));

	a->array.ndim = nwords > 0;
	a->words = words;
	a->nwords = nwords;
	return &a->array;
}

void
deconstruct_array(ArrayType *array, Oid elmtype, int elmlen, bool elmbyval,
				  char elmalign, Datum **elemsp, bool **nullsp, int *nelemsp)
{
	WordArray *a = (WordArray *) array;

	*elemsp = palloc0((a->nwords + 1) * sizeof(Datum));
	*nullsp = palloc0(a->nwords + 1);
	*nelemsp = a->nwords;
	for (int i = 0; i < a->nwords; i++)
	{
		Size len = a->words[i] ? strlen(a->words[i]) : 0;
		text *t = palloc(VARHDRSZ + len);

		SET_VARSIZE(t, VARHDRSZ + len);
		if (len > 0)
			memcpy(VARDATA(t), a->words[i], len);
		(*elemsp)[i] = PointerGetDatum(t);
		(*nullsp)[i] = a->words[i] == NULL;
	}
}

int
server_split_lines(const uint8_t *data, size_t size, char ***words)
{
	const char *p = (const char *) data;
	const char *end = p + size;
	int n = 0;

	*words = palloc((size + 1) * sizeof(char *));
	while (p < end)
	{
		const char *line_end = memchr(p, '\n', end - p);

		if (line_end == NULL)
			line_end = end;
		(*words)[n++] = pnstrdup(p, line_end - p);
		p = line_end + 1;
	}
	return n;
}

bool
errstart(int elevel, const char *domain)
{
	error_level = elevel;
	server_errcode = ERRCODE_INTERNAL_ERROR;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	if (error_level < ERROR)
		return;
	if (on_error == NULL)
		abort();
	longjmp(*on_error, 1);
}

int
errcode(int sqlerrcode)
{
	server_errcode = sqlerrcode;
	return 0;
}

/* Format a message as the server would, to have its arguments looked at. */
#define FORMAT(fmt)                                                            \
	do                                                                         \
	{                                                                          \
		char buf[8192];                                                        \
		va_list args;                                                          \
                                                                               \
		va_start(args, fmt);                                                   \
		(void) vsnprintf(buf, sizeof(buf), fmt, args);                         \
		va_end(args);                                                          \
	} while (0)

int
errmsg(const char *fmt, ...)
{
	FORMAT(fmt);
	return 0;
}

int
errmsg_internal(const char *fmt, ...)
{
	FORMAT(fmt);
	return 0;
}

int
errdetail(const char *fmt, ...)
{
	FORMAT(fmt);
	return 0;
}

int
errhint(const char *fmt, ...)
{
	FORMAT(fmt);
	return 0;
}
