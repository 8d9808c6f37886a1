/* SPDX-License-Identifier: ISC */
/* Handshakes take turns; see handshake_line.h. */
#include "proxy/handshake_line.h"

#include "common/log.h"

#include <event2/event_struct.h>

TAILQ_HEAD(places, handshake_place);

static struct {
	struct places waiting;
	struct event next; /* a timer of zero: the next turn */
	bool armed;        /* whenever steps were taken or anybody waits */
	unsigned steps;    /* since it came last */
} line = {.waiting = TAILQ_HEAD_INITIALIZER(line.waiting)};

static void on_next(evutil_socket_t fd, short what, void *arg);

/* No clock tells turns apart: libevent's is a coarse one, of 4 ms, and many turns fit in that. */
static void arm(struct event_base *base)
{
	static const struct timeval zero;

	if (line.armed)
		return;
	line.armed = true;
	evtimer_assign(&line.next, base, on_next, base);
	evtimer_add(&line.next, &zero);
}

static void on_next(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	line.armed = false;
	line.steps = 0;
	while (line.steps < HANDSHAKE_STEPS_A_TURN && !TAILQ_EMPTY(&line.waiting)) {
		struct handshake_place *place = TAILQ_FIRST(&line.waiting);

		line.steps++;
		TAILQ_REMOVE(&line.waiting, place, entry);
		place->waiting = false;
		place->go(place);
	}
	if (line.steps > 0)
		arm(arg);
}

bool handshake_line_ask(struct event_base *base, struct handshake_place *place,
	void (*go)(struct handshake_place *place))
{
	require(!place->waiting);
	arm(base);
	/* Nobody goes before those who wait. */
	if (line.steps < HANDSHAKE_STEPS_A_TURN && TAILQ_EMPTY(&line.waiting)) {
		line.steps++;
		return true;
	}
	place->go = go;
	place->waiting = true;
	TAILQ_INSERT_TAIL(&line.waiting, place, entry);
	return false;
}

void handshake_line_leave(struct handshake_place *place)
{
	if (!place->waiting)
		return;
	place->waiting = false;
	TAILQ_REMOVE(&line.waiting, place, entry);
}
