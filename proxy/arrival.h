/* SPDX-License-Identifier: ISC */
/*
 * Connections on a listener behind load balancers that have not told yet whose they are.  Each is
 * read to the end of its PROXY header and not an octet further: what follows stays in the socket
 * for TLS or SMTP.  Who is no load balancer, sends something else, or is too slow is refused
 * without a word: a reply in the clear would be the first that a client behind TLS reads.
 *
 * The deadline counts from accept to the header's end, however the octets drip.  Nothing is decided
 * here about the client that is told.
 */
#ifndef PROXY_ARRIVAL_H
#define PROXY_ARRIVAL_H

#include "common/address.h"
#include "common/config.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

struct arrivals; /* all those of a process */

/*
 * A header came, from the loop: fd is the callee's now.  client is whom it tells; when it tells
 * nobody it is the peer itself, and via is NULL; else via is the peer.  Both last until the return.
 */
typedef void arrival_told_function(int fd, const struct config_listen *listen,
	const struct address *client, const struct address *via, void *arg);

/* NULL: out of memory. */
struct arrivals *arrivals_new(struct event_base *base, unsigned deadline_ms,
	arrival_told_function *on_told, void *arg) __attribute__((warn_unused_result));

/* Closes all that wait; NULL-safe. */
void arrivals_free(struct arrivals **arrivals);

/* Takes over a socket that was just accepted from peer; closes it at once when peer may not tell.
 */
void arrivals_add(struct arrivals *arrivals, int fd, const struct address *peer,
	const struct config_listen *listen);

size_t arrivals_count(const struct arrivals *arrivals);

/* Closes those that wait longest until so many are left; reason is a word for the log. */
void arrivals_keep(struct arrivals *arrivals, size_t count, const char *reason);

#endif
