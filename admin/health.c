/* SPDX-License-Identifier: ISC */
/*
 * The reasons of /readyz; see health.h.
 *
 * All of it is read from counter pages: no question is asked, so that a process that hangs cannot
 * make the answer hang.
 */
#include "admin/health.h"

#include <inttypes.h>

static uint64_t age_ms(const struct counters *page, uint64_t now_ms)
{
	uint64_t beat_ms = counters_last_heartbeat(page);

	return beat_ms >= now_ms ? 0 : now_ms - beat_ms;
}

static bool is_stale(const struct counters *page, uint64_t now_ms)
{
	return age_ms(page, now_ms) > HEALTH_STALE_MS;
}

static bool master_is_well(const struct counters *master, uint64_t now_ms, struct evbuffer *out)
{
	if (master == NULL || is_stale(master, now_ms)) {
		evbuffer_add_printf(out, "master: it stands still\n");
		return false;
	}
	if (counter_read(master, COUNTER_DRAINING) != 0) {
		evbuffer_add_printf(out, "draining: Postern was told to stop\n");
		return false;
	}
	return true;
}

static bool auth_is_well(const struct counters *master, const struct counters *auth,
	uint64_t now_ms, struct evbuffer *out)
{
	if (auth == NULL || master == NULL || counter_read(master, COUNTER_CHILDREN_AUTH) == 0) {
		evbuffer_add_printf(out, "auth: the auth process is away; it is being started\n");
		return false;
	}
	if (is_stale(auth, now_ms)) {
		evbuffer_add_printf(out,
			"auth: the auth process has stood still for %" PRIu64 " s\n"
			"database: not known while auth stands still\n",
			age_ms(auth, now_ms) / 1000);
		return false;
	}
	if (counter_read(auth, COUNTER_DATABASE_UP) == 0) {
		evbuffer_add_printf(out, "database: auth has no working connection to it\n");
		return false;
	}
	return true;
}

bool health_ready(const struct pages *pages, uint64_t now_ms, struct evbuffer *out)
{
	const struct counters *master = pages_find(pages, IPC_PROCESS_MASTER, 0);
	const struct counters *auth = pages_find(pages, IPC_PROCESS_AUTH, 0);
	uint64_t total[COUNTER_COUNT];
	bool ready = master_is_well(master, now_ms, out);

	ready &= auth_is_well(master, auth, now_ms, out);
	pages_total(pages, total);
	if (total[COUNTER_CHILDREN_PROXY] == 0) {
		evbuffer_add_printf(out, "proxies: no proxy process serves\n");
		ready = false;
	}
	if (total[COUNTER_BACKENDS_UP] == 0) {
		evbuffer_add_printf(out, "backend: every backend is away\n");
		ready = false;
	}
	return ready;
}
