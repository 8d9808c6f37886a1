/* SPDX-License-Identifier: ISC */
/*
 * The admin process; see admin_main.h.
 *
 * Its socket is bound by the master: an address that is taken is told at the start, and a scrape
 * during a restart of admin waits in the kernel's queue.  It serves when it has every page, so that
 * no total is ever too small.
 */
#include "admin/admin_main.h"

#include "admin/http.h"
#include "admin/pages.h"
#include "common/log.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct admin {
	struct event_base *base;
	struct child *child;
	struct http *http; /* NULL until all pages are there */
	struct pages pages;
	int listening;
	int status;
};

static void give_up(struct admin *admin, const char *what)
{
	log_message(LOG_ERROR, "admin-failed", "%s: %s", what, strerror(errno));
	admin->status = EX_OSERR;
	event_base_loopbreak(admin->base);
}

/* The master's page comes last of all that were there at our start. */
static void serve(struct admin *admin)
{
	if (admin->http != NULL)
		return;
	admin->http = http_open(admin->base, admin->listening, &admin->pages);
	if (admin->http == NULL)
		give_up(admin, "the HTTP server");
	else
		child_ready(admin->child);
}

static void on_counters(enum ipc_process peer, unsigned index, int fd, void *arg)
{
	struct admin *admin = arg;
	const struct counters *page = fd == -1 ? NULL : counters_map(fd);

	if (fd != -1)
		close(fd);
	if (fd != -1 && page == NULL) {
		give_up(admin, "mapping a page of counters");
		return;
	}
	if (!pages_set(&admin->pages, peer, index, page))
		log_message(LOG_ERROR, "admin-failed", "more processes than pages");
	else if (peer == IPC_PROCESS_MASTER)
		serve(admin);
}

static void on_drain(void *arg)
{
	struct admin *admin = arg;

	event_base_loopexit(admin->base, NULL);
}

static void on_tick(uint64_t now_ms, void *arg)
{
	struct admin *admin = arg;

	(void)now_ms;
	if (admin->http != NULL)
		http_tick(admin->http);
}

int admin_main(const struct child_start *start)
{
	static const struct child_events events = {
		.on_counters = on_counters, .on_drain = on_drain, .on_tick = on_tick};
	static struct admin admin;

	require(start->listener_count == 1);
	admin.listening = start->listeners[0].fd;
	child_confine(start, CHILD_SYSCALLS_NETWORK, NULL);
	admin.base = event_base_new();
	if (admin.base != NULL)
		admin.child = child_attach(admin.base, start, &events, &admin);
	if (admin.child == NULL) {
		log_message(LOG_ERROR, "admin-failed", "no memory for an event loop");
		return EX_OSERR;
	}
	event_base_dispatch(admin.base);
	http_close(&admin.http);
	pages_clear(&admin.pages);
	child_detach(&admin.child);
	event_base_free(admin.base);
	return admin.status;
}
