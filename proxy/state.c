/* SPDX-License-Identifier: ISC */
/*
 * The table of the client's states: name, allowed moves, deadline; see state.h.
 *
 * States that wait for auth or the backend have no deadline here: session_await() and the backend's
 * own timer see to them.
 */
#include "proxy/state.h"

#include "common/clock.h"
#include "common/log.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/transaction.h"

#include <stdint.h>

#define TO(state) (1u << (state))

enum limit { LIMIT_NONE, LIMIT_HANDSHAKE, LIMIT_COMMAND, LIMIT_DATA, LIMIT_SKIP };

static const struct {
	const char *name;
	unsigned moves;
	enum limit limit;
} states[] = {
	[CLIENT_SHAKING] = {"shaking", TO(CLIENT_COMMAND), LIMIT_HANDSHAKE},
	[CLIENT_COMMAND] = {"command",
		TO(CLIENT_SHAKING) | TO(CLIENT_SASL) | TO(CLIENT_LOGIN) | TO(CLIENT_MAIL) |
			TO(CLIENT_DATA) | TO(CLIENT_CHUNK) | TO(CLIENT_SKIP),
		LIMIT_COMMAND},
	[CLIENT_SASL] = {"sasl", TO(CLIENT_COMMAND) | TO(CLIENT_LOGIN), LIMIT_COMMAND},
	[CLIENT_LOGIN] = {"login", TO(CLIENT_COMMAND), LIMIT_NONE},
	[CLIENT_MAIL] = {"mail", TO(CLIENT_COMMAND), LIMIT_NONE},
	[CLIENT_DATA] = {"data",
		TO(CLIENT_COMMAND) | TO(CLIENT_BODY) | TO(CLIENT_CHUNK) | TO(CLIENT_SKIP),
		LIMIT_NONE},
	[CLIENT_BODY] = {"body", TO(CLIENT_DISCARD) | TO(CLIENT_END), LIMIT_DATA},
	[CLIENT_DISCARD] = {"discard", TO(CLIENT_COMMAND), LIMIT_DATA},
	[CLIENT_CHUNK] = {"chunk", TO(CLIENT_COMMAND) | TO(CLIENT_SKIP) | TO(CLIENT_END),
		LIMIT_DATA},
	[CLIENT_SKIP] = {"skip", TO(CLIENT_COMMAND), LIMIT_SKIP},
	[CLIENT_END] = {"end", TO(CLIENT_COMMAND), LIMIT_NONE},
	[CLIENT_CLOSED] = {"closed", 0, LIMIT_NONE},
};
_Static_assert(sizeof states / sizeof states[0] == CLIENT_STATES, "a row a state");

const char *client_state_name(enum client_state state)
{
	return states[state].name;
}

/* The transaction's own end, and the time that its octets so far have earned at the least rate. */
static uint64_t body_deadline(const struct session *session, const struct transaction *transaction)
{
	const struct config *config = session->worker->config;
	uint64_t end = transaction->taken_ms + config->timeouts.transaction_ms;
	unsigned rate = config->limits.minimum_rate;

	if (rate != 0) {
		uint64_t earned = transaction->taken_ms + config->timeouts.data_ms +
				  transaction->paused_ms + transaction->body.bytes_in * 1000 / rate;
		if (earned < end)
			end = earned;
	}
	return end;
}

/* 0: none. */
static uint64_t deadline(const struct session *session, uint64_t now)
{
	const struct config_timeouts *t = &session->worker->config->timeouts;
	const struct transaction *transaction = session->transaction;
	/* Between two chunks as well. */
	bool streams = transaction != NULL &&
		       (states[session->state].limit == LIMIT_DATA || bdat_under_way(session));
	uint64_t end = 0;

	switch (states[session->state].limit) {
	case LIMIT_NONE:
		return 0;
	case LIMIT_HANDSHAKE:
		end = now + t->handshake_ms;
		break;
	case LIMIT_COMMAND:
		end = now + (session->authenticated ? t->command_ms : t->unauthenticated_ms);
		break;
	case LIMIT_DATA:
	case LIMIT_SKIP:
		end = now + t->data_ms;
		break;
	}
	if (streams && body_deadline(session, transaction) < end)
		end = body_deadline(session, transaction);
	if (!session->authenticated && session->opened_ms + t->login_ms < end)
		end = session->opened_ms + t->login_ms;
	return end;
}

void client_arm(struct session *session)
{
	if (session->await != AWAIT_NONE) /* its own deadline counts */
		return;
	session->deadline_ms = deadline(session, clock_monotonic_ms());
	if (session->deadline_ms == 0)
		return;
	/* A timer that is set to fire earlier looks at deadline_ms and sets itself anew. */
	if (session->timer_ms != 0 && session->timer_ms <= session->deadline_ms)
		return;
	session_arm_timer(session);
}

void client_set_state(struct session *session, enum client_state state)
{
	struct log_line line;

	if (state != CLIENT_CLOSED && (states[session->state].moves & TO(state)) == 0) {
		log_message(LOG_ERROR, "bad-move", "%s -> %s", states[session->state].name,
			states[state].name);
		panic("a client's state made a move that the table does not allow");
	}
	if (log_enabled(LOG_DEBUG)) {
		log_begin(&line, LOG_DEBUG, "state");
		log_id(&line, "sid", session->id);
		log_text(&line, "from", states[session->state].name);
		log_text(&line, "to", states[state].name);
		log_end(&line);
	}
	session->state = state;
	client_arm(session);
}
