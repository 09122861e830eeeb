/*-------------------------------------------------------------------------
 *
 * target_https.c
 *		Messages to a webhook, at least once.
 *
 * One POST an event, in order, each after the answer to the one before.  Nothing
 * can be asked of a web server, so an event comes again when the relay dies
 * between its answer and the end of the batch; its id is the same then, in
 * webhook-id and Idempotency-Key.  With a secret the request is signed as
 * https://www.standardwebhooks.com has it.
 *
 * What answers mean, by the CloudEvents specification of webhooks: 2xx, done; 410,
 * gone for good; 429 and 503, later, by Retry-After; 400, 413, 415 and 422, this
 * event never; all else, later.  Redirects are not followed.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/memory.h"
#include "version.h"

typedef struct HttpsTarget
{
	Target base;
	CURL *curl;
	char *password;
	unsigned char key[128]; /* of the signature */
	size_t key_len;
	long retry_after; /* seconds, of the last answer */
	char body[256];   /* what it said, cut */
	size_t body_len;
	char error[CURL_ERROR_SIZE];
} HttpsTarget;

/* ---- the answer ---- */

static size_t
receive_header(char *line, size_t size, size_t n, void *arg)
{
	HttpsTarget *t = arg;
	static const char name[] = "retry-after:";

	/* a date is not read: such a server is asked again by our own clock */
	if (size * n > sizeof(name) &&
		strncasecmp(line, name, sizeof(name) - 1) == 0)
		t->retry_after = strtol(line + sizeof(name) - 1, NULL, 10);
	return size * n;
}

static size_t
receive_body(char *data, size_t size, size_t n, void *arg)
{
	HttpsTarget *t = arg;
	size_t len = size * n;
	size_t room = sizeof(t->body) - 1 - t->body_len;

	memcpy(t->body + t->body_len, data, len < room ? len : room);
	t->body_len += len < room ? len : room;
	t->body[t->body_len] = '\0';
	return len;
}

static TargetResult
judge(HttpsTarget *t, long status)
{
	const char *url = t->base.config->shown_target;

	t->body[strcspn(t->body, "\r\n")] = '\0';
	if (status >= 200 && status < 300)
		return TARGET_OK;
	if (status == 400 || status == 413 || status == 414 || status == 415 ||
		status == 422 || status == 431)
		return target_fail(t, TARGET_REFUSED, "the server answers %ld %s",
						   status, t->body);
	if (status == 410 || status == 401 || status == 403 || status == 404 ||
		(status >= 300 && status < 400))
		return target_fail(t, TARGET_STOP, "%s answers %ld%s %s", url, status,
						   status == 410  ? ", gone"
						   : status < 400 ? ", which is not followed"
										  : "",
						   t->body);
	t->base.retry_after = t->retry_after;
	return target_fail(t, TARGET_AWAY, "%s answers %ld %s", url, status,
					   t->body);
}

/* ---- the request ---- */

/* Standard Webhooks' secrets are base64, with whsec_ before it. */
static bool
read_key(HttpsTarget *t, const char *secret)
{
	size_t len;
	int n;

	if (strncmp(secret, "whsec_", 6) == 0)
		secret += 6;
	len = strlen(secret);
	if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof(t->key))
		return false;
	n = EVP_DecodeBlock(t->key, (const unsigned char *) secret, (int) len);
	if (n < 0)
		return false;
	while (len > 0 && secret[len - 1] == '=')
	{
		n--;
		len--;
	}
	t->key_len = (size_t) n;
	return n > 0;
}

static void
add_header(struct curl_slist **list, const char *name, const char *value)
{
	char *line = text_format("%s: %s", name, value);

	*list = curl_slist_append(*list, line);
	free(line);
}

/* webhook-signature: v1,base64(HMAC-SHA256(key, "id.timestamp.body")) */
static void
add_signature(HttpsTarget *t, struct curl_slist **list,
			  const RelayMessage *message, const char *timestamp)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned mac_len;
	char text[4 + (EVP_MAX_MD_SIZE + 2) / 3 * 4] = "v1,";
	PQExpBufferData signed_text;

	initPQExpBuffer(&signed_text);
	appendPQExpBuffer(&signed_text, "%s.%s.", message->id, timestamp);
	appendBinaryPQExpBuffer(&signed_text, message->body, message->body_len);
	if (PQExpBufferDataBroken(signed_text))
		abort();
	HMAC(EVP_sha256(), t->key, (int) t->key_len,
		 (const unsigned char *) signed_text.data, signed_text.len, mac,
		 &mac_len);
	termPQExpBuffer(&signed_text);
	EVP_EncodeBlock((unsigned char *) text + 3, mac, (int) mac_len);
	add_header(list, "webhook-signature", text);
}

static struct curl_slist *
make_headers(HttpsTarget *t, const RelayMessage *message)
{
	struct curl_slist *list = NULL;
	char timestamp[32];

	snprintf(timestamp, sizeof(timestamp), "%lld", (long long) time(NULL));
	add_header(&list, "Content-Type", message->content_type);
	add_header(&list, "webhook-id", message->id);
	add_header(&list, "webhook-timestamp", timestamp);
	add_header(&list, "Idempotency-Key", message->id);
	if (t->key_len > 0)
		add_signature(t, &list, message, timestamp);
	for (int i = 0; i < message->nheaders; i++)
		add_header(&list, message->headers[i].name, message->headers[i].value);
	return list;
}

/* ---- the calls ---- */

static void
set_identity(HttpsTarget *t)
{
	const RelayConfig *config = t->base.config;

	if (config->token)
	{
		curl_easy_setopt(t->curl, CURLOPT_HTTPAUTH, (long) CURLAUTH_BEARER);
		curl_easy_setopt(t->curl, CURLOPT_XOAUTH2_BEARER, config->token);
	}
	else if (config->user)
	{
		t->password = target_password(config);
		curl_easy_setopt(t->curl, CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
		curl_easy_setopt(t->curl, CURLOPT_USERNAME, config->user);
		curl_easy_setopt(t->curl, CURLOPT_PASSWORD,
						 t->password ? t->password : "");
	}
	if (config->tls_ca)
		curl_easy_setopt(t->curl, CURLOPT_CAINFO, config->tls_ca);
	if (config->tls_cert)
		curl_easy_setopt(t->curl, CURLOPT_SSLCERT, config->tls_cert);
	if (config->tls_key)
		curl_easy_setopt(t->curl, CURLOPT_SSLKEY, config->tls_key);
}

/* What a transfer came to that is not an answer. */
static TargetResult
fail_transfer(HttpsTarget *t, CURLcode code)
{
	bool is_for_a_person = code == CURLE_PEER_FAILED_VERIFICATION ||
						   code == CURLE_SSL_CACERT_BADFILE ||
						   code == CURLE_SSL_CERTPROBLEM ||
						   code == CURLE_URL_MALFORMAT;

	return target_fail(t, is_for_a_person ? TARGET_STOP : TARGET_AWAY, "%s: %s",
					   t->base.config->shown_target,
					   t->error[0] ? t->error : curl_easy_strerror(code));
}

/* Connect, verify the server, and send nothing. */
static TargetResult
try_connection(HttpsTarget *t)
{
	CURL *curl = curl_easy_duphandle(t->curl);
	CURLcode code;

	if (curl == NULL)
		abort();
	curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
	code = curl_easy_perform(curl);
	curl_easy_cleanup(curl);
	return code == CURLE_OK ? TARGET_OK : fail_transfer(t, code);
}

static Target *
https_open(const RelayConfig *config)
{
	HttpsTarget *t = target_make(sizeof(HttpsTarget), config);

	if (t == NULL || (t->curl = curl_easy_init()) == NULL)
	{
		free(t);
		return NULL;
	}
	if (config->secret && !read_key(t, config->secret))
	{
		target_fail(t, TARGET_STOP,
					"key \"secret\" is no base64 text, with or without whsec_ "
					"before it");
		return &t->base;
	}
	curl_easy_setopt(t->curl, CURLOPT_URL, config->target);
	curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(t->curl, CURLOPT_POST, 1L);
	curl_easy_setopt(t->curl, CURLOPT_TIMEOUT, (long) config->stall_release);
	curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->error);
	curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, receive_header);
	curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, receive_body);
	curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(t->curl, CURLOPT_USERAGENT, "pgqrelay/" PGQ_VERSION);
	set_identity(t);
	t->base.result = try_connection(t);
	return &t->base;
}

static void
https_close(Target *target)
{
	HttpsTarget *t = (HttpsTarget *) target;

	curl_easy_cleanup(t->curl);
	free(t->password);
	free(t);
}

static TargetResult
https_where(Target *target, const TargetBatch *batch, int64_t *done)
{
	(void) target;
	*done = batch->acked;
	return TARGET_OK;
}

static TargetResult
https_send(Target *target, const RelayMessage *message)
{
	HttpsTarget *t = (HttpsTarget *) target;
	struct curl_slist *headers = make_headers(t, message);
	TargetResult result;
	CURLcode code;
	long status = 0;

	t->retry_after = 0;
	t->body_len = 0;
	t->body[0] = t->error[0] = '\0';
	curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, message->body);
	curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE,
					 (curl_off_t) message->body_len);
	code = curl_easy_perform(t->curl);
	curl_slist_free_all(headers);
	if (code != CURLE_OK)
		return fail_transfer(t, code);
	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	result = judge(t, status);
	if (result == TARGET_OK)
		t->base.acked = message->place;
	return result;
}

static TargetResult
https_flush(Target *target, char **bookmark)
{
	(void) target;
	(void) bookmark;
	return TARGET_OK;
}

static const char *
https_library(void)
{
	return "libcurl " LIBCURL_VERSION;
}

const TargetClass target_https = {
	.scheme = "https",
	.promise = "webhook, at least once",
	.keys = (const char *const[]){"user", "password", "password_file", "token",
								  "secret", "tls_ca", "tls_cert", "tls_key",
								  NULL},
	.library = https_library,
	.open = https_open,
	.where = https_where,
	.send = https_send,
	.flush = https_flush,
	.close = https_close};
