/* SPDX-License-Identifier: ISC */
/*
 * The proxy's end of its channel to auth: log-ins, sender and limit questions, intents, outcomes.
 *
 * Bounded: AUTH_CLIENT_REQUESTS outstanding, AUTH_CLIENT_LOGINS of them log-ins; beyond that, and
 * while the channel is down, the asking function returns false and the caller answers 454 or 451. A
 * request whose channel died is answered "unavailable" and never sent again.  An outcome is kept
 * and repeated until auth has acknowledged it.
 *
 * Answers go to the session that waits for them (session.await), found by id.
 */
#ifndef PROXY_AUTH_CLIENT_H
#define PROXY_AUTH_CLIENT_H

#include "common/ipc.h"
#include "proxy/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	AUTH_CLIENT_REQUESTS = 4096,
	AUTH_CLIENT_LOGINS = 1024,
	AUTH_CLIENT_OUTCOMES =
		65536, /* not yet acknowledged; beyond, the oldest knowledge is lost */
};

struct auth_client;
struct session;
struct transaction;

/* What the answers do; implemented by the verbs' files.  The session may be closed afterwards. */
struct auth_answers {
	void (*login)(struct session *session, const struct ipc_auth_verdict *verdict);
	void (*mail)(struct session *session, const struct ipc_policy_verdict *verdict);
	/* never a limit */
	void (*owner)(struct session *session, const struct ipc_policy_verdict *verdict);
	void (*take)(struct session *session, const struct ipc_policy_verdict *verdict);
	void (*top_up)(struct session *session, const struct ipc_policy_verdict *verdict);
	void (*intent)(struct session *session, bool ok);
	void (*outcome)(struct session *session); /* acknowledged */
};

struct auth_client *auth_client_new(struct worker *worker, const struct auth_answers *answers);
void auth_client_free(struct auth_client **client);

/* A channel to a fresh auth: live sessions and open transactions are announced on it. */
void auth_client_attach(struct auth_client *client, int fd);
bool auth_client_attached(const struct auth_client *client);

/* Every second: outcomes that were refused or lost go again. */
void auth_client_tick(struct auth_client *client);

/* The frame holds a secret: the caller wipes it afterwards, here nothing of it stays. */
bool auth_client_login(struct auth_client *client, struct session *session,
	const struct ipc_auth_request *request) __attribute__((warn_unused_result));
/* The session ends: whatever it waits for is not awaited any more, a log-in need not be decided. */
void auth_client_forget(struct auth_client *client, struct session *session);

bool auth_client_mail(struct auth_client *client, struct session *session)
	__attribute__((warn_unused_result));
/*
 * Whether the account owns an address of the message's header, by the rules for MAIL and without a
 * look at its limits: answers->owner follows, from the loop.  For an open transaction, one question
 * at a time.  False, also for an address longer than IPC_PATH_MAX: it is not asked.
 */
bool auth_client_owner(struct auth_client *client, struct session *session, const char *address,
	size_t len) __attribute__((warn_unused_result));
/* The transaction's recipients go ahead of it, where its MAIL verdict wants them. */
bool auth_client_take(struct auth_client *client, struct session *session)
	__attribute__((warn_unused_result));
/* Octets besides those that the take was for, which is granted. */
bool auth_client_top_up(struct auth_client *client, struct session *session, uint64_t bytes)
	__attribute__((warn_unused_result));
bool auth_client_intent(struct auth_client *client, struct session *session)
	__attribute__((warn_unused_result));
/* Once a transaction: of two, the first counts. */
void auth_client_outcome(
	struct auth_client *client, uint64_t transaction, const struct ipc_outcome *outcome);

/* The session logged in before and ends now. */
void auth_client_session_end(struct auth_client *client, const struct session *session);

/* Transactions by id, from transaction_open() to transaction_close(). */
bool auth_client_add(struct auth_client *client, uint64_t transaction, struct session *session)
	__attribute__((warn_unused_result));
void auth_client_remove(struct auth_client *client, uint64_t transaction);

/* Outcomes not yet acknowledged: a drained worker waits for 0. */
size_t auth_client_unsettled(const struct auth_client *client);

/* The deadline of session.await passed: the answer is "unavailable". */
void auth_client_expire(struct auth_client *client, struct session *session);

#endif
