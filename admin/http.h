/* SPDX-License-Identifier: ISC */
/*
 * The HTTP side of admin: GET and HEAD of /healthz, /readyz and /metrics, on a socket of the
 * master's.  Reads only; one request a connection; headers, bodies, time and connections bounded.
 */
#ifndef ADMIN_HTTP_H
#define ADMIN_HTTP_H

#include "admin/pages.h"

#include <event2/event.h>

enum {
	HTTP_CONNECTIONS_MAX = 64, /* more wait in the kernel's queue */
	HTTP_HEADERS_MAX = 8 * 1024,
	HTTP_BODY_MAX = 1024,
	HTTP_TIMEOUT_S = 5,
};

struct http;

/* Serves on the listening socket; both it and pages stay the caller's.  NULL: out of memory. */
struct http *http_open(struct event_base *base, int listening, const struct pages *pages)
	__attribute__((warn_unused_result));

/* Every second: takes connections again after a full house. */
void http_tick(struct http *http);
void http_close(struct http **http);

#endif
