/* SPDX-License-Identifier: ISC */
/*
 * Takes wait for give-backs of their account that are under way; see serve.h.
 *
 * A client that was refused a message may send the next one at once, and what was given back is
 * recorded and credited by calls of its own.  Asked meanwhile, the limit would still be reached.
 */
#include "auth/serve.h"

#include "common/clock.h"

#include <stdlib.h>

enum { WAIT_MAX_MS = 1000 }; /* then it is asked all the same */

struct waiting_take {
	TAILQ_ENTRY(waiting_take) entry;
	size_t behind; /* so many give-backs; those that begin later are not waited for */
	uint64_t peer, since_ms, bytes;
	struct take take; /* its recipients are the transaction's */
};

bool serve_order_wait(struct peer *peer, const struct take *take, uint64_t bytes)
{
	size_t behind = transactions_giving_back(peer->service->transactions, take->account);
	struct waiting_take *waiting = behind == 0 ? NULL : calloc(1, sizeof *waiting);

	if (waiting == NULL)
		return false;
	waiting->behind = behind;
	waiting->peer = peer->number;
	waiting->since_ms = clock_monotonic_ms();
	waiting->bytes = bytes;
	waiting->take = *take;
	peer->requests++; /* it counts as one, which bounds the list */
	TAILQ_INSERT_TAIL(&peer->service->waiting, waiting, entry);
	return true;
}

static void go(struct service *service, struct waiting_take *waiting)
{
	struct peer *peer = peer_find(service, waiting->peer);
	struct session *session = peer == NULL ? NULL : session_find(peer, waiting->take.session);

	TAILQ_REMOVE(&service->waiting, waiting, entry);
	if (peer != NULL)
		peer->requests--;
	if (session == NULL)
		serve_take_forget(service, &waiting->take);
	else
		serve_take_go(peer, session, &waiting->take, waiting->bytes);
	free(waiting);
}

static struct waiting_take *first_free(struct service *service)
{
	struct waiting_take *waiting;

	TAILQ_FOREACH (waiting, &service->waiting, entry) {
		if (waiting->behind == 0)
			return waiting;
	}
	return NULL;
}

void serve_order_returned(struct service *service, uint64_t account)
{
	struct waiting_take *waiting;

	TAILQ_FOREACH (waiting, &service->waiting, entry) {
		if (waiting->take.account == account && waiting->behind > 0)
			waiting->behind--;
	}
	/* One that goes may be answered at once: begin anew after each. */
	waiting = first_free(service);
	while (waiting != NULL) {
		go(service, waiting);
		waiting = first_free(service);
	}
}

void serve_order_tick(struct service *service, uint64_t now_ms)
{
	struct waiting_take *waiting = TAILQ_FIRST(&service->waiting);

	while (waiting != NULL && now_ms - waiting->since_ms >= WAIT_MAX_MS) {
		go(service, waiting);
		waiting = TAILQ_FIRST(&service->waiting);
	}
}

void serve_order_destroy(struct service *service)
{
	while (!TAILQ_EMPTY(&service->waiting)) {
		struct waiting_take *waiting = TAILQ_FIRST(&service->waiting);

		TAILQ_REMOVE(&service->waiting, waiting, entry);
		free(waiting);
	}
}
