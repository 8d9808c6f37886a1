/* SPDX-License-Identifier: ISC */
/*
 * Shared by authenticate.c and the authenticate_*.c files, one a stage of a log-in; nobody else
 * includes it.
 *
 * A log-in is looked up, hashed, and perhaps held until its refusal may leave.  Every answer comes
 * back by token; a token that is gone means that the client is, and the answer is dropped.
 */
#ifndef AUTH_LOGIN_H
#define AUTH_LOGIN_H

#include "auth/authenticate.h"
#include "auth/guard.h"
#include "auth/pace.h"
#include "auth/rehash.h"
#include "common/idmap.h"
#include "common/secret.h"

/* For the operator only; the client cannot tell them apart. */
enum reason {
	REASON_NONE, /* nothing speaks against it so far */
	REASON_UNKNOWN,
	REASON_WRONG,
	REASON_DISABLED,
	REASON_MALFORMED, /* the stored hash, or there is none */
	REASON_AUTHZID,
	/* the right secret of a credential that is revoked, expired, or bound to other networks */
	REASON_REVOKED,
	REASON_EXPIRED,
	REASON_NETWORK,
	REASON_NO_KEY, /* hashed under a pepper that is not configured */
};

/* The two answers that a log-in with a generated secret waits for. */
struct login_generated {
	bool fresh;                   /* both were asked of the database */
	enum row_answer account, row; /* 0: not yet */
	bool enabled;                 /* the account */
	uint64_t number, owner;       /* the credential's, and its account */
	enum credential_match match;
	enum credential_state state; /* of an account of its own */
};

struct login {
	struct authenticate *owner;
	uint64_t token, peer, session;
	unsigned proxy;
	struct address_key client;
	uint8_t mechanism;
	enum reason reason; /* not NONE: refused whatever the hash says */
	enum reason given;  /* what spoke against it before any look-up */
	uint64_t started_ms, asked_us, hash_us;
	bool at_once;   /* account_cache_get() has not returned */
	bool looked_up; /* the database was asked for it, not only the memory */
	bool guarded;   /* the guard waits for its verdict */
	bool waits;     /* it has not begun: the guard slows it down */
	uint8_t tag[GUARD_TAG_BYTES];
	enum hash_class class;
	struct secret *secret;
	struct event *timer;         /* of its wait, then of its refusal */
	enum password_scheme scheme; /* of the hash that is computed, and what it costs */
	struct password_cost cost;
	uint16_t stored_len; /* of that hash when a better one is to take its place; else 0 */
	char stored[PASSWORD_PHC_MAX];
	struct ipc_auth_verdict verdict;
	struct login_generated generated;
	uint64_t missing_us; /* of a look-up that others wait for and this one did not */
	uint8_t helo_len;
	uint8_t helo[IPC_HELO_MAX];
	uint16_t name_len;
	uint8_t name[IPC_LOGIN_MAX]; /* as the client gave it, for the log */
};

struct authenticate {
	struct event_base *base;
	struct authenticate_settings settings;
	struct pace pace;
	struct idmap *logins;
	uint64_t last_token;
	size_t waiting; /* log-ins that the guard slows down */
	struct rehash *rehash;
	char dummy[PASSWORD_PHC_MAX + 1];
};

/* authenticate_guard.c: what the guard says before, and is told afterwards */
enum guard_answer login_guard(struct login *login, uint64_t *delay_ms_out, uint64_t now_ms);
void login_guard_failed(struct login *login);
void login_guard_succeeded(struct login *login);
void login_guard_abandoned(struct login *login);
struct address_key login_network(const struct login *login); /* its place in the hash queue */

/* authenticate.c: from the frame to what the account says */
void login_destroy(struct login *login); /* wipes; the log-in is in no map any more */
void login_refuse(struct login *login);  /* what was only remembered is looked up before */

/* The account as it may be remembered while the database is away; NULL: not at all. */
const struct account *login_remembered(const struct login *login);
void login_take_account(struct login *login, const struct account *account); /* into the verdict */
void login_note_lookup(struct login *login, enum row_answer answer);

/* authenticate_credential.c: a secret of the generated form */
bool login_is_generated(const struct login *login);
void login_begin_generated(struct login *login);

/* authenticate_hash.c: equal work */
void login_submit(struct login *login, const char *phc, size_t phc_len);
void login_submit_dummy(struct login *login, enum reason reason);
/* Whether the row has a hash that may be computed here; sets the cost. */
bool login_has_usable_hash(struct login *login, const struct account *account);

/* authenticate_end.c: verdicts, their log lines and their time.  Each frees the log-in, at once or
 * when the refusal leaves. */
void login_turn_away(struct login *login, enum ipc_auth_result result); /* HELD or BLOCKED */
void login_release(struct login *login);                                /* its refusal leaves */
void login_ok(struct login *login, bool cached);
void login_refuse_now(struct login *login); /* login->reason says why */
void login_unavailable(struct login *login, const char *why);
/* A log-in that could not even begin. */
void login_count(enum ipc_auth_result result);

#endif
