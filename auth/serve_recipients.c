/* SPDX-License-Identifier: ISC */
/*
 * Whom a session's next message is for, and as which domain it sends: what limits want to know
 * besides amounts.  See serve.h.
 *
 * A session has one transaction at a time: what it told of another one is forgotten.
 */
#include "auth/serve.h"

#include "auth/array_text.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------- recipients */
static void forget_recipients(struct peer *peer, struct session *session)
{
	if (session->whom != NULL)
		peer->recipients -= session->whom->count;
	recipients_unref(&session->whom);
	session->transaction = 0;
	session->whom_failed = false;
}

static size_t recipients_max(const struct session *session)
{
	return session->recipients == 0 || session->recipients > RECIPIENTS_MAX
		       ? RECIPIENTS_MAX
		       : session->recipients;
}

void serve_recipients(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_recipients *told = payload;
	struct session *session = session_find(peer, told->session);

	if (session == NULL)
		return;
	if (session->transaction != id)
		forget_recipients(peer, session);
	session->transaction = id;
	if (session->whom_failed)
		return;
	if (peer->recipients + told->count > SERVICE_RECIPIENTS_MAX ||
		!recipients_add(&session->whom, told->hash, told->count, recipients_max(session))) {
		forget_recipients(peer, session);
		session->transaction = id;
		session->whom_failed = true; /* its take is not asked without them */
		return;
	}
	peer->recipients += told->count;
}

bool session_take_recipients(struct peer *peer, struct session *session, uint64_t transaction,
	uint32_t count, struct recipients **whom_out)
{
	bool told = session->transaction == transaction && session->whom != NULL;
	bool good = !(session->transaction == transaction && session->whom_failed) &&
		    (!told || session->whom->count == count);

	*whom_out = good && told ? recipients_ref(session->whom) : NULL;
	forget_recipients(peer, session);
	return good;
}

/* ------------------------------------------------------------------- domain */
/* In lower case; NULL: there is none, it cannot be text of the database, or there is no memory. */
static char *domain_of(const uint8_t *address, size_t len)
{
	const uint8_t *at = len == 0 ? NULL : memrchr(address, '@', len);
	size_t domain_len = at == NULL ? 0 : len - (size_t)(at + 1 - address);

	if (domain_len == 0 || domain_len > TAKE_DOMAIN_MAX ||
		!array_text_valid(at + 1, domain_len))
		return NULL;
	char *domain = malloc(domain_len + 1);
	if (domain == NULL)
		return NULL;
	for (size_t i = 0; i < domain_len; i++)
		domain[i] = (char)(at[1 + i] >= 'A' && at[1 + i] <= 'Z' ? at[1 + i] + ('a' - 'A')
									: at[1 + i]);
	domain[domain_len] = '\0';
	return domain;
}

void session_sends_as(struct session *session, const uint8_t *sender, size_t len)
{
	free(session->domain);
	session->domain =
		len == 0 ? domain_of(session->login, session->login_len) : domain_of(sender, len);
}

void session_forget_message(struct peer *peer, struct session *session)
{
	forget_recipients(peer, session);
	free(session->domain);
	session->domain = NULL;
}
