/* SPDX-License-Identifier: ISC */
/*
 * What changed in the database: memory of it is forgotten, and the sessions of those concerned are
 * held to the rows as they are now.  See serve.h.
 */
#include "auth/serve.h"

#include "common/clock.h"

#include <stddef.h>

/* What another server may have lost of ours is charged again; see grants.h. */
static void on_epoch(void *arg)
{
	struct service *service = arg;

	quota_epoch(service->quota, clock_monotonic_ms());
}

static void on_everything(void *arg)
{
	struct service *service = arg;

	quota_changed_all(service->quota, clock_monotonic_ms());
	quota_memory_forget_all(service->known_empty);
	row_cache_changed_all(service->accounts);
	row_cache_changed_all(service->credentials);
	live_changed_all(service->live, clock_monotonic_ms());
	serve_blocks_changed(service);
}

/* Its sessions are those of its account, which is told too, and afterwards. */
static void on_credential(uint64_t id, void *arg)
{
	struct service *service = arg;

	row_cache_changed(service->credentials, id);
	quota_memory_forget(service->known_empty, 0, id);
}

static void on_account(uint64_t id, void *arg)
{
	struct service *service = arg;

	row_cache_changed(service->accounts, id);
	quota_changed(service->quota, id, clock_monotonic_ms());
	quota_memory_forget(service->known_empty, id, 0);
	live_changed(service->live, id, clock_monotonic_ms());
}

static void on_blocks(void *arg)
{
	serve_blocks_changed(arg);
}

static void on_trust(bool trusted, void *arg)
{
	struct service *service = arg;

	row_cache_feed(service->accounts, trusted);
	row_cache_feed(service->credentials, trusted);
	quota_trust(service->quota, trusted);
}

static void check(struct live_session *live, const struct account *row, void *arg)
{
	struct session *session =
		(struct session *)(void *)((char *)live - offsetof(struct session, live));
	struct peer *peer = peer_find(arg, session->peer);

	if (peer == NULL)
		return;
	if (!session_holds(session, row)) {
		serve_revoke(peer, session->id);
		return;
	}
	holds_limit(peer->service->holds, session->account, session->meters.sessions);
	if (session->credential != 0)
		serve_credential_verify(session, arg);
}

bool serve_live(struct service *service)
{
	service->live = live_new(service->accounts, check, service);
	return service->live != NULL;
}

bool serve_changes(struct service *service, const struct dsn *dsn)
{
	static const struct feed_events events = {
		.on_epoch = on_epoch,
		.on_everything = on_everything,
		.on_credential = on_credential,
		.on_account = on_account,
		.on_blocks = on_blocks,
		.on_trust = on_trust,
	};

	service->feed = feed_open(service->base, dsn, &events, service);
	return service->feed != NULL;
}
