/* SPDX-License-Identifier: ISC */
/*
 * Accepting clients: the listeners (the master's; shared with the other workers), the number of
 * sessions, and what door.h allows a network prefix: the client's own, where a load balancer has
 * told whose the connection is (arrival.h).  When this worker is full its listeners rest
 * and the others take what comes; a descriptor reserve keeps backend connections possible.
 */
#ifndef PROXY_ACCEPTOR_H
#define PROXY_ACCEPTOR_H

#include "common/address.h"
#include "common/child.h"
#include "proxy/worker.h"

struct acceptor;

struct acceptor *acceptor_new(struct worker *worker, const struct child_start *start);
void acceptor_free(struct acceptor **acceptor);

/* Stops accepting, for good (drain). */
void acceptor_stop(struct acceptor *acceptor);

/* A session that was accepted here has logged in, or is closed. */
void acceptor_session_welcome(struct acceptor *acceptor, struct session *session);
void acceptor_session_closed(struct acceptor *acceptor, struct session *session);

/* auth tells which networks may not come in: their sessions that have not logged in end. */
void acceptor_block(struct acceptor *acceptor, const struct ipc_block *block);

/* Every second: rested listeners come back. */
void acceptor_tick(struct acceptor *acceptor);

#endif
