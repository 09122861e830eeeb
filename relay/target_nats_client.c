/*-------------------------------------------------------------------------
 *
 * target_nats_client.c
 *		The JetStream target's connection, and the stream's settings.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target_nats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

/* API errors of the server's errors.json */
#define ERR_STREAM_NOT_FOUND 10059

/* ---- connecting ---- */

static natsStatus
set_identity(NatsTarget *t)
{
	const RelayConfig *config = t->base.config;
	natsStatus s = NATS_OK;
	char *password = target_password(config);

	if (config->credentials)
		s = natsOptions_SetUserCredentialsFromFiles(t->options,
													config->credentials, NULL);
	else if (config->token)
		s = natsOptions_SetToken(t->options, config->token);
	else if (config->user)
		s = natsOptions_SetUserInfo(t->options, config->user,
									password ? password : "");
	free(password);
	return s;
}

static natsStatus
set_encryption(NatsTarget *t)
{
	const RelayConfig *config = t->base.config;
	natsStatus s = NATS_OK;

	if (!config->tls && strncmp(config->target, "tls:", 4) != 0)
		return NATS_OK;
	s = natsOptions_SetSecure(t->options, true);
	if (s == NATS_OK && config->tls_ca)
		s = natsOptions_LoadCATrustedCertificates(t->options, config->tls_ca);
	if (s == NATS_OK && config->tls_cert)
		s = natsOptions_LoadCertificatesChain(t->options, config->tls_cert,
											  config->tls_key);
	return s;
}

/* Addresses may be many, with commas between. */
static natsStatus
set_servers(NatsTarget *t)
{
	char *list = text_copy(t->base.config->target);
	const char *servers[32];
	int n = 0;
	char *rest = list;
	char *part;
	natsStatus s;

	while ((part = strsep(&rest, ", ")) != NULL)
		if (*part && n < 32)
			servers[n++] = part;
	s = natsOptions_SetServers(t->options, servers, n);
	free(list);
	return s;
}

/* Connect, with receive_ack called for each acknowledgement. */
natsStatus
nats_connect(NatsTarget *t, jsPubAckHandler receive_ack)
{
	const RelayConfig *config = t->base.config;
	int64_t wait = (int64_t) (config->stall_release * 1000);
	natsStatus s;
	jsOptions js;

	s = natsOptions_Create(&t->options);
	if (s == NATS_OK)
		s = set_servers(t);
	if (s == NATS_OK)
		s = set_identity(t);
	if (s == NATS_OK)
		s = set_encryption(t);
	if (s == NATS_OK)
		s = natsOptions_SetName(t->options, config->consumer);
	if (s == NATS_OK)
		s = natsOptions_SetTimeout(t->options, wait);
	/* a lost connection is made anew by the relay, which asks where it is */
	if (s == NATS_OK)
		s = natsOptions_SetAllowReconnect(t->options, false);
	if (s == NATS_OK)
		s = natsConnection_Connect(&t->conn, t->options);
	if (s != NATS_OK)
		return s;

	s = jsOptions_Init(&js);
	js.Wait = wait;
	js.PublishAsync.MaxPending = config->window_events;
	js.PublishAsync.AckHandler = receive_ack;
	js.PublishAsync.AckHandlerClosure = (void *) (uintptr_t) t->number;
	js.PublishAsync.StallWait = wait;
	if (s == NATS_OK)
		s = natsConnection_JetStream(&t->js, t->conn, &js);
	return s;
}

/* ---- what the server says ---- */

/*
 * What the server forbids it says beside, and answers nothing.  True, with the
 * failure noted, if it has said so since we connected.
 */
bool
nats_is_forbidden(NatsTarget *t)
{
	const char *text = NULL;

	if (natsConnection_GetLastError(t->conn, &text) != NATS_NOT_PERMITTED)
		return false;
	target_fail(t, TARGET_STOP, "%s: %s", t->base.config->shown_target,
				text && *text ? text : natsStatus_GetText(NATS_NOT_PERMITTED));
	return true;
}

/*
 * Does the stream keep what we send, and tell us so?  What it deletes once it is
 * read is the position: whose the last message was.
 */
static TargetResult
check_stream(NatsTarget *t)
{
	const jsStreamConfig *config = t->info->Config;
	const char *what = NULL;

	if (config->Retention != js_LimitsPolicy)
		return target_fail(
			t, TARGET_STOP,
			"stream \"%s\" has retention %s, so it deletes what was read, and "
			"the relay's position with it - make it with retention limits, and "
			"another one for its readers that has it as its source",
			config->Name,
			config->Retention == js_WorkQueuePolicy ? "workqueue" : "interest");
	if (config->Mirror)
		what = "is a mirror, into which nobody writes";
	else if (config->SourcesLen > 0)
		what = "has sources, and the relay must be its only writer";
	else if (config->Sealed)
		what = "is sealed";
	else if (config->NoAck)
		what = "acknowledges nothing (no_ack)";
	if (what)
		return target_fail(t, TARGET_STOP, "stream \"%s\" %s", config->Name,
						   what);
	return TARGET_OK;
}

/* Read the stream's state; STOP if there is none, or none that will do. */
TargetResult
nats_read_stream(NatsTarget *t)
{
	const char *stream = t->base.config->stream;
	jsErrCode code = 0;
	natsStatus s;

	jsStreamInfo_Destroy(t->info);
	t->info = NULL;
	s = js_GetStreamInfo(&t->info, t->js, stream, NULL, &code);
	if (s == NATS_OK)
		return check_stream(t);
	if (code == ERR_STREAM_NOT_FOUND)
		return target_fail(t, TARGET_STOP,
						   "JetStream has no stream \"%s\" - make it, with the "
						   "subjects that key \"subject\" gives",
						   stream);
	if (nats_is_forbidden(t))
		return TARGET_STOP;
	return target_fail(t, TARGET_AWAY, "stream \"%s\": %s (%d)", stream,
					   natsStatus_GetText(s), (int) code);
}

/* Note why there is no connection. */
void
nats_fail_to_connect(NatsTarget *t, natsStatus s)
{
	bool is_for_a_person = s == NATS_CONNECTION_AUTH_FAILED ||
						   s == NATS_SSL_ERROR || s == NATS_NOT_PERMITTED ||
						   s == NATS_INVALID_ARG;
	const RelayConfig *config = t->base.config;
	const char *more = nats_GetLastError(NULL);
	const char *start = more ? strstr(more, "): ") : NULL;
	const char *hint = "";

	/* the library's file and line go before it */
	if (start)
		more = start + strlen("): ");
	if (s == NATS_CONNECTION_AUTH_FAILED)
		hint = " - see user, password, token, credentials";
	else if (config->tls && !config->tls_cert && s != NATS_SSL_ERROR &&
			 s != NATS_NO_SERVER && s != NATS_TIMEOUT)
		hint = " - does the server want a certificate of ours, tls_cert?";
	target_fail(t, is_for_a_person ? TARGET_STOP : TARGET_AWAY, "%s: %s%s%s%s",
				config->shown_target, natsStatus_GetText(s),
				more && *more ? ": " : "", more && *more ? more : "", hint);
}
