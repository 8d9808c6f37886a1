/* SPDX-License-Identifier: ISC */
/*
 * Generated credentials of live sessions: their look-ups, what ends a session, and the writing of
 * who used them last.  See serve.h.
 */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <stdlib.h>

enum { CREDENTIALS_MAX = 16 * 1024 };

/* ------------------------------------------------------------------ look-ups */
static void on_looked_up(
	enum database_result result, const PGresult *rows, void *arg, uint64_t ticket)
{
	struct service *service = arg;
	struct credential *credential = NULL;
	enum row_answer answer = ROW_UNAVAILABLE;

	if (result == DATABASE_ROWS) {
		switch (query_parse_credential(rows, &credential)) {
		case QUERY_ROW:
			answer = ROW_KNOWN;
			break;
		case QUERY_NO_ROW:
			answer = ROW_UNKNOWN;
			break;
		case QUERY_BAD:
			log_message(LOG_ERROR, "query-bad",
				"credential_lookup returned another shape of row");
			break;
		}
	}
	credential_cache_answer(
		service->credentials, ticket, answer, credential, clock_monotonic_ms());
}

static bool look_up(void *arg, uint64_t ticket, const uint8_t *key, size_t key_len)
{
	struct service *service = arg;
	char text[CREDENTIAL_ID_LEN + 1];
	const char *values[] = {credential_format(credential_cache_key(key, key_len), text)};

	counter_add(COUNTER_CREDENTIAL_LOOKUPS, 1);
	return database_query(
		service->lookups, QUERY_CREDENTIAL_LOOKUP, values, on_looked_up, service, ticket);
}

/* ------------------------------------------------------------------ last use */
static void on_written(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct service *service = arg;

	(void)result;
	(void)rows;
	(void)token;
	credential_uses_written(service->uses);
}

/* On the connection of the takes: a row that another node is writing holds up no log-in. */
static bool write_uses(const struct credential_use_batch *batch, void *arg)
{
	struct service *service = arg;
	const char *values[] = {
		batch->credentials, batch->seconds, batch->addresses, batch->clients};

	return database_query(
		service->quotas[0], QUERY_CREDENTIAL_USED, values, on_written, service, 0);
}

bool serve_credentials(struct service *service)
{
	const struct row_cache_settings settings = {
		.kind = &credential_rows,
		.entries_max = CREDENTIALS_MAX,
		.bytes_max = SIZE_MAX, /* each is bounded */
		.lookup = look_up,
		.arg = service,
	};

	service->credentials = row_cache_new(&settings);
	service->uses = credential_uses_new(write_uses, service);
	return service->credentials != NULL && service->uses != NULL;
}

/* ------------------------------------------------------------------ sessions */
bool session_credential_holds(const struct session *session, const struct credential *credential)
{
	return credential != NULL &&
	       credential_check(credential, session->account, &session->client,
		       clock_wall_ms() / 1000) == CREDENTIAL_HOLDS;
}

static void on_verified(
	enum row_answer known, const struct credential *credential, void *arg, uint64_t number)
{
	struct service *service = arg;
	struct request *request = request_take(service, number);
	struct peer *peer = request == NULL ? NULL : peer_find(service, request->peer);
	struct session *session = peer == NULL ? NULL : session_find(peer, request->session);

	/* While the database is away it stays unchecked; its next MAIL looks again. */
	if (session != NULL && known != ROW_UNAVAILABLE &&
		!session_credential_holds(session, credential))
		serve_revoke(peer, session->id);
	free(request);
}

void serve_credential_verify(struct session *session, struct service *service)
{
	struct peer *peer = peer_find(service, session->peer);
	struct request *request =
		peer == NULL ? NULL : request_new(peer, REQUEST_CREDENTIAL, session->id);

	if (request != NULL)
		credential_cache_get(service->credentials, session->credential, false,
			clock_monotonic_ms(), on_verified, service, request->number);
}
