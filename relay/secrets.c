/*-------------------------------------------------------------------------
 *
 * secrets.c
 *		What must not be read by others: in the ini file, in files that it
 *		names, in what we tell.
 *
 * In the ini file ${VARIABLE} is no secret, but the name of one.  What tells a
 * target is shown to all who may see how relays are: it may not have a password,
 * and parts of it that may be a token are not shown.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/secrets.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <libpq-fe.h>

#include "common/memory.h"

/* What stands in place of a secret. */
#define HIDDEN "***"

/* A part of a URL's path that is so long, with letters and digits, may be one. */
#define TOKEN_LENGTH 16

/* Values that are shorter are no secrets, and stand in many texts. */
#define SHORTEST_HIDDEN 4

/* Parts of names of settings that have one, and whole names. */
static const char *const words[] = {"password", "passwd",  "secret", "token",
									"key.pem",  "api_key", "apikey", "auth",
									NULL};
static const char *const names[] = {"key", "sig", "code", NULL};

/* Has the text anything of its own beside ${VARIABLE}s? */
static bool
is_plain(const char *text, size_t len)
{
	while (len > 0)
	{
		const char *close = len > 2 && strncmp(text, "${", 2) == 0
								? memchr(text, '}', len)
								: NULL;

		if (close == NULL)
			return true;
		len -= close + 1 - text;
		text = close + 1;
	}
	return false;
}

static bool
is_plain_text(const char *text)
{
	return text && is_plain(text, strlen(text));
}

static bool
is_secret_name(const char *name, size_t len)
{
	for (const char *const *word = words; *word; word++)
		for (size_t i = 0; i + strlen(*word) <= len; i++)
			if (strncasecmp(name + i, *word, strlen(*word)) == 0)
				return true;
	for (const char *const *whole = names; *whole; whole++)
		if (len == strlen(*whole) && strncasecmp(name, *whole, len) == 0)
			return true;
	return false;
}

/*
 * Is there a secret among settings name=value with these separators between?  A
 * part without a name goes on with the value before it.
 */
static bool
has_secret_setting(const char *text, const char *separators)
{
	bool is_secret = false;

	while (text && *text)
	{
		size_t len = strcspn(text, separators);
		const char *equals = memchr(text, '=', len);
		const char *value = equals ? equals + 1 : text;

		if (equals)
			is_secret = is_secret_name(text, equals - text);
		if (is_secret && is_plain(value, text + len - value))
			return true;
		text += len;
		text += strspn(text, separators);
	}
	return false;
}

static bool
is_http(const char *target)
{
	return strncasecmp(target, "http", strlen("http")) == 0;
}

/*
 * The end of what may be user:password@host.  A path may have an @, but what is no
 * port tells of a password that has a slash.
 */
static const char *
find_host_end(const char *part, const char *end)
{
	const char *path = part + strcspn(part, "/?#");
	const char *colon = memchr(part, ':', path < end ? path - part : end - part);

	if (path >= end || (*part != '[' && colon &&
						colon + 1 + strspn(colon + 1, "0123456789") < path &&
						is_plain(colon + 1, path - colon - 1)))
		return end;
	return path;
}

/* Does one of scheme:[//][USER[:PASSWORD]@]HOST..., with commas between? */
static bool
has_password_before_host(const char *target)
{
	bool http = is_http(target);

	while (*target)
	{
		const char *end = target + strcspn(target, http ? " " : ", ");
		const char *slashes = strstr(target, "://");
		const char *part = slashes && slashes < end ? slashes + 3 : target;
		const char *host_end = http ? find_host_end(part, end) : end;
		const char *at = host_end;
		const char *colon;

		while (at > part && *--at != '@')
			;
		colon = memchr(part, ':', at - part);
		/* one word alone is a token to some */
		if (*at == '@' && is_plain(colon ? colon + 1 : part,
								   at - (colon ? colon + 1 : part)))
			return true;
		target = end + strspn(end, ", ");
	}
	return false;
}

/* Does a libpq string have a password in it? */
static bool
has_password(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	bool found = false;

	/* ${VARIABLE} may stand for more than a value */
	if (options == NULL)
		return strcasestr(conninfo, "passw") ||
			   has_password_before_host(conninfo);
	for (const PQconninfoOption *o = options; o->keyword; o++)
	{
		if (strcmp(o->keyword, "options") == 0)
			found = found || has_secret_setting(o->val, " ");
		/* libpq marks what is not to be shown on a screen */
		else if (o->dispchar[0] == '*' ||
				 strncmp(o->keyword, "scram_", strlen("scram_")) == 0)
			found = found || is_plain_text(o->val);
	}
	PQconninfoFree(options);
	return found;
}

/*
 * The next key whose value in the ini file has a secret in it; NULL: there is none
 * left.  *next is 0 to begin with.  Before ${VARIABLE}s are replaced.
 */
const char *
secrets_next_key(const RelayConfig *relay, int *next)
{
	const struct
	{
		const char *key;
		bool found;
	} keys[] = {{"db", relay->db && has_password(relay->db)},
				{"target", relay->target && is_http(relay->target) &&
							   strchr(relay->target, '?') &&
							   has_secret_setting(
								   strchr(relay->target, '?') + 1, "&")},
				{"options", has_secret_setting(relay->options, ",")},
				{"password", is_plain_text(relay->password)},
				{"token", is_plain_text(relay->token)},
				{"secret", is_plain_text(relay->secret)}};

	while (*next < (int) (sizeof(keys) / sizeof(keys[0])))
		if (keys[(*next)++].found)
			return keys[*next - 1].key;
	return NULL;
}

/*
 * May others read a file?  The group of root's may: that is how packages give a file
 * to one who is not to change it.
 */
bool
secrets_others_may_read(const char *file)
{
	struct stat st;

	return stat(file, &st) == 0 &&
		   (st.st_mode &
			(st.st_uid == 0 ? S_IRWXO : S_IRWXO | S_IRWXG)) != 0;
}

/* Has a target, as the ini file has it, a password in it? */
bool
secrets_are_in_target(const char *target)
{
	if (strncmp(target, "file:", strlen("file:")) == 0)
		return false;
	return strncmp(target, "postgres", strlen("postgres")) == 0
			   ? has_password(target)
			   : has_password_before_host(target);
}

static bool
may_be_token(const char *text, size_t len)
{
	bool digit = false;
	bool letter = false;

	for (size_t i = 0; i < len; i++)
	{
		digit = digit || isdigit((unsigned char) text[i]);
		letter = letter || isalpha((unsigned char) text[i]);
	}
	return digit && letter && len >= TOKEN_LENGTH && is_plain(text, len);
}

/*
 * A target for people: that of a webhook without what may be a token, in its path
 * or behind it.  Malloc'd.
 */
char *
secrets_show_target(const char *target)
{
	PQExpBuffer out;
	const char *rest = strstr(target, "://");
	char before = '/';

	if (!is_http(target) || rest == NULL)
		return text_copy(target);
	out = text_begin();
	rest += 3;
	rest += strcspn(rest, "/?#");
	appendBinaryPQExpBuffer(out, target, rest - target);
	while (*rest)
	{
		const char *value = rest + 1;
		size_t len;
		bool hide;

		if (*rest != '&')
			before = *rest;
		len = strcspn(value, before == '/' ? "/?#" : "&#") + 1;
		if (before == '?' && memchr(value, '=', len - 1))
			value = memchr(value, '=', len - 1) + 1;
		hide = before == '/' ? may_be_token(value, len - 1)
							 : is_plain(value, rest + len - value);
		appendBinaryPQExpBuffer(out, rest, value - rest);
		if (hide)
			appendPQExpBufferStr(out, HIDDEN);
		else
			appendBinaryPQExpBuffer(out, value, rest + len - value);
		rest += len;
	}
	return text_end(out);
}

/*
 * Are the files of secrets there, and for us alone?  False, with a message in
 * "error", which has room for "size" bytes, if not.
 */
bool
secrets_check_files(const RelayConfig *relay, char *error, size_t size)
{
	const char *const files[][2] = {{"password_file", relay->password_file},
									{"credentials", relay->credentials},
									{"tls_key", relay->tls_key}};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		const char *file = files[i][1];
		FILE *fp = file ? fopen(file, "r") : NULL;
		int first = fp ? getc(fp) : EOF;

		if (file == NULL)
			continue;
		if (fp == NULL || ferror(fp))
			snprintf(error, size, "could not read %s %s: %s", files[i][0], file,
					 strerror(errno));
		else if (first == EOF || first == '\n' || first == '\r')
			snprintf(error, size, "%s %s has nothing in its first line",
					 files[i][0], file);
		else if (secrets_others_may_read(file))
			snprintf(error, size,
					 "others may read %s %s: give it to the user that "
					 "pgqrelay runs as, and chmod 600",
					 files[i][0], file);
		else
			file = NULL;
		if (fp)
			fclose(fp);
		if (file)
			return false;
	}
	return true;
}

/* Put "by" in place of each "what" in a text that has room for "size" bytes. */
static void
replace(char *text, size_t size, const char *what, const char *by)
{
	PQExpBuffer out;
	const char *rest = text;
	const char *found;
	char *done;

	if (what == NULL || strlen(what) < SHORTEST_HIDDEN ||
		strstr(text, what) == NULL)
		return;
	out = text_begin();
	for (; (found = strstr(rest, what)) != NULL; rest = found + strlen(what))
	{
		appendBinaryPQExpBuffer(out, rest, found - rest);
		appendPQExpBufferStr(out, by);
	}
	appendPQExpBufferStr(out, rest);
	done = text_end(out);
	snprintf(text, size, "%s", done);
	free(done);
}

/*
 * Take all secrets of a relay out of a text for people, which has room for "size"
 * bytes: engines and libraries repeat what they were given.
 */
void
secrets_hide(const RelayConfig *relay, char *text, size_t size)
{
	const char *const secrets[] = {relay->password, relay->token,
								   relay->secret};

	replace(text, size, relay->target, relay->shown_target);
	for (char **variable = relay->variables; variable && *variable;
		 variable += 2)
		replace(text, size, variable[1], variable[0]);
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
		replace(text, size, secrets[i], HIDDEN);
}
