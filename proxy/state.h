/* SPDX-License-Identifier: ISC */
/*
 * The client half of a session: its states, which moves are allowed, and how long each may last.
 * The backend half is in backend.c.
 */
#ifndef PROXY_STATE_H
#define PROXY_STATE_H

#include <stdbool.h>

struct session;

enum client_state {
	CLIENT_SHAKING, /* the TLS handshake */
	CLIENT_COMMAND, /* a command is read; replies to MAIL and RCPT may still be owed */
	CLIENT_SASL,    /* AUTH: the client's next response is read */
	CLIENT_LOGIN,   /* auth decides about the log-in */
	CLIENT_MAIL,    /* MAIL: sender policy, then a backend connection */
	CLIENT_DATA,    /* DATA or the first BDAT: RCPT replies, the take, the backend's 354 */
	CLIENT_BODY,    /* the message streams through */
	CLIENT_DISCARD, /* the message is refused already: its end is awaited */
	CLIENT_CHUNK,   /* a chunk of the message streams through */
	CLIENT_SKIP,    /* a chunk is refused already: its octets are dropped */
	CLIENT_END,     /* intent, end of data, the backend's reply, outcome */
	CLIENT_CLOSED,  /* waits to be freed */
	CLIENT_STATES,
};

/* The only way to change the state.  A move that the table does not allow is a programmer's error.
 * Logs "from -> to" at debug level and arms the new state's deadline. */
void client_set_state(struct session *session, enum client_state state);

const char *client_state_name(enum client_state state);

/* Arms (again) the deadline of the present state: called when the client has made progress. */
void client_arm(struct session *session);

#endif
