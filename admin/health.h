/* SPDX-License-Identifier: ISC */
/* Whether this Postern can take a message now, and if not, why; for /readyz. */
#ifndef ADMIN_HEALTH_H
#define ADMIN_HEALTH_H

#include "admin/pages.h"

#include <event2/buffer.h>
#include <stdbool.h>
#include <stdint.h>

enum { HEALTH_STALE_MS = 5000 }; /* a heartbeat this old is no sign of life */

/*
 * True: ready, and nothing is added to out.  False: out got one line for each reason, each of which
 * begins with a fixed word and a colon: master, auth, database, proxies, backend, draining.
 */
bool health_ready(const struct pages *pages, uint64_t now_ms, struct evbuffer *out)
	__attribute__((warn_unused_result));

#endif
