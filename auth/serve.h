/* SPDX-License-Identifier: ISC */
/*
 * Shared by service.c and the serve_*.c files, one a family of frames; nobody else includes it.
 *
 * Every asynchronous hop carries a number: of a channel (peer), a request or a take.  What is found
 * under it when the answer comes is all that there is; a number that is gone drops the answer.
 */
#ifndef AUTH_SERVE_H
#define AUTH_SERVE_H

#include "auth/account.h"
#include "auth/authenticate.h"
#include "auth/burst.h"
#include "auth/credential_cache.h"
#include "auth/credential_use.h"
#include "auth/database.h"
#include "auth/feed.h"
#include "auth/guard.h"
#include "auth/holds.h"
#include "auth/live.h"
#include "auth/quota.h"
#include "auth/quota_memory.h"
#include "auth/refusals.h"
#include "auth/service.h"
#include "auth/spool.h"
#include "auth/transaction.h"
#include "common/channel.h"
#include "common/idmap.h"

#include <sys/queue.h>

struct usage; /* usage.h */

struct session {
	struct live_session live;
	uint64_t id, peer;            /* the proxy's number for it; of its channel */
	uint64_t account, credential; /* credential 0: by the account's own password */
	struct address_key client;
	uint64_t version; /* of the row that it was last checked against */
	/* What its verdict carried, and the proxy holds it to. */
	uint64_t password_version, message_bytes;
	uint32_t recipients;
	enum ipc_from_policy from_policy;
	struct account_meters meters; /* of the row that it was last checked against */
	char *domain;                 /* of its last MAIL; NULL: none */
	uint64_t transaction;         /* of which whom has been told */
	struct recipients *whom;      /* of the next take; NULL: not told */
	bool whom_failed;             /* they were told, but are too many */
	uint16_t login_len;
	uint8_t login[]; /* prepared, as it is looked up */
};

struct peer { /* one channel of one proxy */
	struct service *service;
	unsigned index;  /* of the proxy */
	uint64_t number; /* never used twice; its remainder by CONFIG_WORKERS_MAX is index */
	struct channel *channel;
	struct idmap *sessions; /* struct session by its id */
	struct idmap *logins;   /* struct login_slot by the session's id */
	size_t requests;        /* MAIL, owners and takes without an answer */
	size_t recipients;      /* that its sessions have told of */
	bool attached;          /* ATTACH_DONE came: nothing may be announced any more */
};

enum { SERVICE_RECIPIENTS_MAX = 1024 * 1024 }; /* of one channel, before their takes */

enum request_kind { REQUEST_MAIL = 1, REQUEST_OWNER, REQUEST_CREDENTIAL, REQUEST_HOLD };

struct request { /* waits for an account or for sender_owned() */
	enum request_kind kind;
	uint64_t number, peer, session;
	uint64_t transaction, started_ms;
	uint64_t account;  /* HOLD */
	uint32_t question; /* OWNER */
	bool fresh;        /* the row was looked up for this request */
	size_t address_len;
	uint8_t address[IPC_PATH_MAX];
};

struct service {
	struct event_base *base;
	const struct config *config;
	struct peer *peers[CONFIG_WORKERS_MAX];
	uint64_t last_peer, last_request;
	struct idmap *requests; /* struct request by its number */
	struct database *lookups, *quotas[TAKE_LANES];
	bool lookups_ready, quotas_ready[TAKE_LANES];
	uint64_t node; /* this one, among all that the database knows */
	uint64_t boot; /* of its spool: no call has the number of an earlier one */
	struct feed *feed;
	struct row_cache *accounts;
	struct row_cache *credentials;
	struct credential_uses *uses;
	const struct credential_keys *keys;
	struct live *live;
	struct login_cache *verified;
	struct hash_pool *pool;
	struct guard *guard;
	struct serve_guard *guard_state; /* of serve_guard.c */
	struct authenticate *authenticate;
	struct quota *quota;
	struct event *quota_due; /* quota_tick() */
	uint64_t quota_due_ms;   /* 0: not wanted */
	struct quota_memory *known_empty;
	struct burst *burst;
	struct holds *holds;
	uint64_t alive_ms; /* when the database was told last that this node lives */
	struct transactions *transactions;
	TAILQ_HEAD(, waiting_take) waiting; /* of serve_order.c, the oldest first */
	struct refusals *refused;
	struct spool *spool;
	struct database *books; /* of the books alone: what is written there holds up no take */
	bool books_ready;
	struct usage *usage;
	struct event *pool_tick;
	uint64_t alone_since_ms; /* draining: when the last proxy left; 0: not yet */
};

enum { TAKE_EXPIRE_MORE_MS = 3600 * 1000 }; /* after the transaction's own deadline */

/* service.c */
struct peer *peer_find(const struct service *service, uint64_t number); /* NULL: gone */
bool peer_has_room(const struct peer *peer);
void peer_send_policy(struct peer *peer, enum ipc_type type, uint64_t id, enum ipc_policy policy,
	const struct query_quota_row *row); /* row: for the limits; NULL otherwise */
/* MAIL is allowed, and this is to be told of its message. */
void peer_send_wants(struct peer *peer, uint64_t transaction, const struct account_meters *meters);
struct request *request_new(struct peer *peer, enum request_kind kind, uint64_t session);
struct request *request_take(struct service *service, uint64_t number); /* for free(); NULL: gone */

/* serve_session.c: who is logged in */
void serve_auth_request(struct peer *peer, uint64_t id, const void *payload);
void serve_auth_cancel(struct peer *peer, uint64_t id, const void *payload);
void serve_session_end(struct peer *peer, uint64_t id, const void *payload);
void serve_attach_session(struct peer *peer, uint64_t id, const void *payload);
void serve_attach_done(struct peer *peer, uint64_t id, const void *payload);
void serve_verdict(
	uint64_t peer, uint64_t session, const struct ipc_auth_verdict *verdict, void *service);
struct session *session_find(const struct peer *peer, uint64_t id); /* NULL: not of this channel */
void sessions_destroy(struct peer *peer);
void serve_revoke(struct peer *peer, uint64_t id); /* of this channel; gone afterwards */
/* Whether the row (NULL: there is none) still lets the session live; follows it to its new version.
 */
bool session_holds(struct session *session, const struct account *account);

/* The verdict of a log-in that succeeded and waits for its session; NULL: it has gone. */
const struct ipc_auth_verdict *login_verdict(const struct peer *peer, uint64_t id);
/* Tells it: OK, and its session begins, or what else came of it.  false: there is no session. */
bool session_begin(struct peer *peer, uint64_t id, enum ipc_auth_result result);

/* serve_hold.c: how many sessions an account may have */
bool serve_holds(struct service *service) __attribute__((warn_unused_result));
/* Ends in session_begin(), perhaps before it returns.  The verdict is the slot's. */
void serve_hold(struct peer *peer, uint64_t session, const struct ipc_auth_verdict *verdict);

/* serve_change.c: what changed in the database */
/* false: out of memory */
bool serve_live(
	struct service *service); /* before the first session; looks up by service->accounts */
bool serve_changes(struct service *service, const struct dsn *dsn);

/* serve_credential.c: what sessions by a generated credential are held to besides */
bool serve_credentials(struct service *service); /* false: out of memory */
/* Ends the session if its credential no longer holds, perhaps before it returns. */
void serve_credential_verify(struct session *session, struct service *service);
/* Whether the row (NULL: there is none) lets the session live. */
bool session_credential_holds(const struct session *session, const struct credential *credential);

/* serve_guard.c: what the guard shares with other nodes, and with the proxies */
bool serve_guard(struct service *service) __attribute__((warn_unused_result));
void serve_guard_destroy(struct service *service);
void serve_guard_ready(struct service *service); /* the takes' connection is there */
/* Whether it remembers what it did before, or has waited long enough to; else log-ins are 454. */
bool serve_guard_remembers(const struct service *service, uint64_t now_ms);
void serve_guard_tick(struct service *service, uint64_t now_ms);
/* Draining: saves what is left; false: that is under way. */
bool serve_guard_settled(struct service *service, uint64_t now_ms);
void serve_blocks_changed(struct service *service);
void serve_blocks_tell(struct peer *peer);

/* serve_login.c: what decides log-ins */
bool serve_login(struct service *service, unsigned workers) __attribute__((warn_unused_result));

/* serve_mail.c: may it send as this address, now */
void serve_mail_request(struct peer *peer, uint64_t id, const void *payload);
void serve_owner_request(struct peer *peer, uint64_t id, const void *payload);

/* serve_refusal.c: refusals, for the books */
struct refusal_address {
	const uint8_t *bytes;
	size_t len; /* at most IPC_PATH_MAX */
};
bool serve_refusals(struct service *service) __attribute__((warn_unused_result));
/*
 * The proxy is about to answer a transaction of the session (NULL: it is gone, and nothing is
 * noted) with this code.  address: the envelope sender or what was refused, NULL when not known;
 * row: the meter's, or NULL.
 */
void serve_refused(struct service *service, const struct session *session, uint64_t tid,
	enum refusal_rule rule, unsigned code, const struct refusal_address *address,
	const struct query_quota_row *row);
/* The same by the policy; OK notes nothing. */
void serve_policy_refused(struct service *service, const struct session *session, uint64_t tid,
	enum ipc_policy policy, const struct refusal_address *address,
	const struct query_quota_row *row);

/* serve_outcome.c: what became of the message */
void serve_intent(struct peer *peer, uint64_t id, const void *payload);
void serve_outcome(struct peer *peer, uint64_t id, const void *payload);
void serve_attach_transaction(struct peer *peer, uint64_t id, const void *payload);
/* A take was granted: remembered on disk, so that it can be given back after a crash. */
void serve_spool_taken(
	struct service *service, const struct take *take, const struct take_grant *grant);
/* Starts a give-back, once it is on disk that there is one: none is ever made twice. */
enum transaction_start serve_recorded_give_back(struct take *take, void *service);
/* What an earlier process had open is open again. */
void serve_outcome_restore(struct service *service);
/* Tells the proxy that waits for it what its outcome came to; NOTHING and WAIT tell nobody. */
void serve_outcome_answer(
	struct service *service, const struct take *take, enum transaction_next next);

/* serve_books.c: the spool, and what takes it into the books */
bool serve_books(struct service *service, const struct dsn *dsn, const struct spool_files *files)
	__attribute__((warn_unused_result));
void serve_books_destroy(struct service *service);
void serve_books_tick(struct service *service, uint64_t now_ms);
/* Draining: closes what is left; false: it is still on its way into the books. */
bool serve_books_settled(struct service *service);

/* serve_take.c: limits */
void serve_take_request(struct peer *peer, uint64_t id, const void *payload);
enum ipc_policy serve_limit_policy(const struct query_quota_row *row);

/* serve_take.c, for serve_order.c: asks for a take that has begun; forgets it unasked */
void serve_take_go(
	struct peer *peer, struct session *session, const struct take *take, uint64_t bytes);
void serve_take_forget(struct service *service, const struct take *take);

/* serve_order.c: takes behind give-backs of the same account */
/* false: there is nothing to wait for */
bool serve_order_wait(struct peer *peer, const struct take *take, uint64_t bytes);
void serve_order_returned(struct service *service, uint64_t account);
void serve_order_tick(struct service *service, uint64_t now_ms);
void serve_order_destroy(struct service *service);

/* serve_recipients.c: what limits want to know besides amounts */
void serve_recipients(struct peer *peer, uint64_t id, const void *payload);
/* Those that the session has told of for this take, forgotten by it; *whom_out: a reference, NULL
 * when there are none.  false: not as many, or they were too many. */
bool session_take_recipients(struct peer *peer, struct session *session, uint64_t transaction,
	uint32_t count, struct recipients **whom_out) __attribute__((warn_unused_result));
/* Its MAIL with this sender (len 0: the null one, sent as the login's domain) was allowed. */
void session_sends_as(struct session *session, const uint8_t *sender, size_t len);
void session_forget_message(struct peer *peer, struct session *session);

/* serve_quota.c: what decides takes, put together */
uint64_t service_take_expires_ms(const struct config *config); /* an open take without news */
bool serve_quota(struct service *service) __attribute__((warn_unused_result));
void serve_quota_destroy(struct service *service);
void serve_quota_lane(struct service *service, size_t lane, bool ready);
void serve_quota_wake(uint64_t in_ms, void *service);
void serve_quota_tick(struct service *service, uint64_t now_ms); /* every second */
bool serve_quota_away(const struct service *service); /* no connection for takes stands */
/* serve_take.c, for it */
void serve_taken(const struct quota_result *result, void *service);
void serve_returned(enum transaction_returned returned, void *service, uint64_t token);
enum transaction_start serve_give_back(struct take *take, void *service);
void serve_keep(const struct take *take, void *service);

#endif
