/* SPDX-License-Identifier: ISC */
/*
 * Handshakes take turns: so many steps a turn of the event loop, of all connections together.  Who
 * comes beyond that waits in line and is not looked at again before it is his turn, first come,
 * first served: what a flood of steps costs grows as the flood does and no faster, and sessions at
 * work are seen to in between.
 *
 * One line and one event base a process; knows nothing of TLS.
 */
#ifndef PROXY_HANDSHAKE_LINE_H
#define PROXY_HANDSHAKE_LINE_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/queue.h>

enum { HANDSHAKE_STEPS_A_TURN = 8 };

/* A connection's place; embedded in it, all zero at first. */
struct handshake_place {
	TAILQ_ENTRY(handshake_place) entry;
	void (*go)(struct handshake_place *place);
	bool waiting;
};

/*
 * True: take one step now.  False: place waits, and go(place) is called once, in a later turn, to
 * take it; go may leave any place, its own included, and free it.  Not to be asked while waiting.
 */
bool handshake_line_ask(struct event_base *base, struct handshake_place *place,
	void (*go)(struct handshake_place *place)) __attribute__((warn_unused_result));

/* Whoever does not wait is allowed. */
void handshake_line_leave(struct handshake_place *place);

#endif
