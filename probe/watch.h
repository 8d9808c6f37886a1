/* SPDX-License-Identifier: ISC */
/*
 * The configured servers and what the last probe found of each: when each is probed, what is
 * logged, counted and told.  Runs in the probe process's loop.
 */
#ifndef PROBE_WATCH_H
#define PROBE_WATCH_H

#include "common/config.h"
#include "common/ipc.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct watch;

enum { WATCH_RETRY_MS = 5000 }; /* for a server that was found down */

/* A server's state after a probe, whether it changed or not. */
typedef void watch_on_state(const struct ipc_server_state *state, void *arg);

/*
 * Begins to probe every server of every backend, all at once and from then on each at its own
 * times, one connection a server.  on_state is called from the loop.  NULL: out of memory.
 */
struct watch *watch_new(struct event_base *base, const struct config *config,
	watch_on_state *on_state, void *arg) __attribute__((warn_unused_result));

/* Calls on_state with every server that was probed at least once. */
void watch_tell_all(const struct watch *watch, watch_on_state *on_state, void *arg);

/* Closes all connections. */
void watch_destroy(struct watch **watch);

/*
 * How long to wait for the next probe: interval, or WATCH_RETRY_MS when that is shorter and the
 * server is down, a tenth more or less by random, so that many nodes do not knock in step.
 */
unsigned watch_delay_ms(unsigned interval_ms, bool up, uint64_t random);

#endif
