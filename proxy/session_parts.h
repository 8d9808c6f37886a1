/* SPDX-License-Identifier: ISC */
/*
 * What the session's files share: session.c has the table and the stream's events, session_lines.c
 * the lines, session_end.c deadlines and ends.  Nobody else includes it; verbs use session.h.
 */
#ifndef PROXY_SESSION_PARTS_H
#define PROXY_SESSION_PARTS_H

#include "proxy/session.h"

#include <event2/util.h>

/* session.c: one whole command, without its CRLF, by the table. */
enum flow session_dispatch(struct session *session, const char *line, size_t len);

/* session_lines.c: input in CLIENT_COMMAND and CLIENT_SASL; returns what was consumed. */
size_t session_read_lines(struct session *session, const uint8_t *bytes, size_t len);

/* session_end.c: session.timer. */
void session_on_timer(evutil_socket_t fd, short what, void *arg);

#endif
