/* SPDX-License-Identifier: ISC */
/*
 * One probe of one server: the socket, its deadlines, and the dialogue over it.  Nothing the server
 * sends is kept beyond one bounded reply.  Runs in the probe process's loop.
 */
#ifndef PROBE_ATTEMPT_H
#define PROBE_ATTEMPT_H

#include "common/capability.h"
#include "common/config.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct attempt;

struct attempt_verdict {
	bool up;
	struct capability_set capabilities; /* when up */
	const char *reason;                 /* when not: a few words, valid during the call */
	uint16_t code;                      /* of the reply that decided; 0: none */
};

/*
 * Told exactly once, from the loop, never from within attempt_start().  The attempt goes on by
 * itself to say QUIT and close; see on_over.
 */
typedef void attempt_on_verdict(const struct attempt_verdict *verdict, void *arg);

/* Told once, after the verdict: the connection is closed; the attempt may now be destroyed. */
typedef void attempt_on_over(void *arg);

/* Connects from the backend's source address.  NULL: out of memory. */
struct attempt *attempt_start(struct event_base *base, const struct config *config,
	const struct config_backend *backend, size_t server, attempt_on_verdict *on_verdict,
	attempt_on_over *on_over, void *arg) __attribute__((warn_unused_result));

/* At any time, within the callbacks too: closes, and tells nothing more.  NULL-safe. */
void attempt_destroy(struct attempt **attempt);

#endif
