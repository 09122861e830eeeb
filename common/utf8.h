/*-------------------------------------------------------------------------
 *
 * utf8.h
 *		Is it UTF-8?  Names from a database in SQL_ASCII may be anything.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_UTF8_H
#define PGQ_UTF8_H

/* Bytes of the UTF-8 character at p, 0 if it is none; a zero byte is one. */
static inline int
utf8_length(const unsigned char *p)
{
	int len = p[0] < 0x80   ? 1
			  : p[0] < 0xC2 ? 0
			  : p[0] < 0xE0 ? 2
			  : p[0] < 0xF0 ? 3
			  : p[0] < 0xF5 ? 4
							: 0;

	for (int i = 1; i < len; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
		(p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
		return 0;
	return len;
}

/*
 * Make text from elsewhere fit for logs, terminals and databases, in place: blanks
 * for control characters, ? for bytes that are not UTF-8, or were cut.
 */
static inline void
utf8_make_printable(char *text)
{
	unsigned char *p = (unsigned char *) text;

	while (*p)
	{
		int len = utf8_length(p);

		if (len == 0)
			*p++ = '?';
		else if (*p < ' ' || *p == 0x7F)
			*p++ = ' ';
		else if (*p == 0xC2 && p[1] < 0xA0)
		{
			*p++ = '?';
			*p++ = '?';
		}
		else
			p += len;
	}
}

#endif /* PGQ_UTF8_H */
