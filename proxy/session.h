/* SPDX-License-Identifier: ISC */
/*
 * One client's session: two halves (the client's stream and state here, the backend's in
 * backend.h), its deadline, its transaction, and the one way to end it.
 *
 * Asynchronous answers find a session by id (worker.sessions, auth_client's transactions), never by
 * pointer.  After session_close() the memory stays until the end of the loop turn, in
 * CLIENT_CLOSED; every handler that may close tells so by its enum flow.
 */
#ifndef PROXY_SESSION_H
#define PROXY_SESSION_H

#include "common/address.h"
#include "common/ipc.h"
#include "proxy/command.h"
#include "proxy/door.h"
#include "proxy/replies.h"
#include "proxy/sasl.h"
#include "proxy/state.h"
#include "proxy/worker.h"

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend;
struct stream;
struct transaction;

enum flow {
	FLOW_GO,     /* the line was consumed; go on with the next */
	FLOW_HOLD,   /* not consumed: it comes again when the replies owed have left */
	FLOW_WAIT,   /* consumed; nothing more is read until an answer comes */
	FLOW_CLOSED, /* the session is closed */
};

/* Which answer of auth the session waits for; its deadline answers in auth's place. */
enum await {
	AWAIT_NONE,
	AWAIT_LOGIN,
	AWAIT_MAIL,
	AWAIT_OWNER,
	AWAIT_TAKE,
	AWAIT_TOP_UP,
	AWAIT_INTENT,
	AWAIT_OUTCOME,
};

struct sasl_exchange { /* between AUTH and its verdict; holds a login, never a secret */
	enum sasl_mechanism mechanism;
	bool have_login;
	uint16_t login_len;
	uint8_t login[IPC_LOGIN_MAX];
};

struct session_origin { /* where a connection comes from */
	struct address client;
	struct address via; /* the load balancer that told the client; len 0: none did */
	bool untold;        /* client is a load balancer, which told nobody: its health checks do */
};

struct session {
	uint64_t id;
	struct worker *worker;
	const struct config_listen *listen;
	struct address client;
	struct address via;    /* as of struct session_origin, like untold */
	struct stream *stream; /* NULL: the client is gone, its message is not decided yet */
	struct event timer;
	uint64_t deadline_ms, timer_ms; /* the timer may fire early and is then set anew */
	uint64_t opened_ms;
	enum client_state state;
	enum await await;
	uint32_t question; /* AWAIT_OWNER: the number of the one that is asked */
	bool tls, esmtp, authenticated;
	bool untold;
	bool skipping;      /* the rest of a line that was too long */
	bool client_ended;  /* no more input will come */
	bool after_data;    /* DATA was the last command, and it has not begun a body */
	bool revoked;       /* 421 when the message at hand is decided */
	bool quiet_backend; /* a RSET of ours is on its way to the backend */
	unsigned offered;   /* capabilities told in EHLO: which parameters are known */
	unsigned errors, junk, login_failures;
	unsigned messages;        /* accepted */
	unsigned mails, mail_max; /* transactions so far, and at most as EHLO told; 0: any number */
	unsigned turn;            /* commands in this callback */
	struct {
		uint64_t size, left; /* octets of the BDAT at hand, and those that have not come */
		bool last;
		enum reply_id refusal; /* in CLIENT_SKIP */
	} chunk;
	uint64_t dropped; /* octets of refused chunks since the last MAIL */
	size_t skipped;
	size_t unread; /* octets of this read that follow the line at hand, while in_line */
	bool in_line;
	bool waits;  /* whole lines wait unconsumed: held back, or left for the next turn */
	char *helo;  /* NULL: no EHLO or HELO yet */
	char *login; /* prepared, as auth told it */
	uint64_t account, credential, version, password_version;
	uint64_t message_bytes; /* the account's own limits; 0: none */
	unsigned recipients;
	enum ipc_from_policy from_policy;
	char token[IPC_TOKEN_MAX + 1]; /* the account's, for abuse reports; "": none */
	struct sasl_exchange *sasl;
	struct transaction *transaction;
	struct backend *backend;
	struct session *next_closed;
	struct door_place place;
};

/* Takes over an accepted socket.  NULL: out of memory, fd closed. */
struct session *session_open(struct worker *worker, const struct config_listen *listen, int fd,
	const struct session_origin *origin) __attribute__((warn_unused_result));

/*
 * Ends the session: an open transaction is settled with auth, the backend connection dropped, the
 * client's stream let go after what was written.  Idempotent.  reason is a word for the log.
 */
void session_close(struct session *session, const char *reason);

/* A refusal that keeps its place behind the replies that the backend owes. */
enum flow session_refuse(struct session *session, enum reply_id reply);

/*
 * A transaction is over: the client may give commands again, unless the account was revoked or the
 * process drains meanwhile (421).
 */
void session_boundary(struct session *session);

/* Writes a reply and closes. */
void session_close_with(struct session *session, enum reply_id reply, const char *reason);

/* Replies of our own; nothing happens when the client is gone.  A 5xx counts as an error. */
void session_reply(struct session *session, enum reply_id reply);
void session_reply_bytes(struct session *session, const char *bytes, size_t len);

/* The backend owes replies, which go before whatever is said now. */
bool session_is_owed(const struct session *session);

/* Input that came and was not consumed, the line at hand left out. */
size_t session_unread(const struct session *session);

/* An answer came and commands may be read again: offers what waits. */
void session_continue(struct session *session);

/* Sets the timer to deadline_ms, sooner than it was: for state.c. */
void session_arm_timer(struct session *session);

/* The present deadline is ms from now at most. */
void session_hurry(struct session *session, unsigned ms);

/* Waits for auth: await's own deadline is armed. */
void session_await(struct session *session, enum await await);

/* The account was revoked, or the process drains: 421 now, or after the message at hand. */
void session_revoke(struct session *session);
void session_drain(struct session *session);

/* The table's handlers, one file a family.  args are those of the line. */
enum flow verb_ehlo(struct session *session, const struct command *command);
enum flow verb_helo(struct session *session, const struct command *command);
enum flow verb_starttls(struct session *session, const struct command *command);
enum flow verb_auth(struct session *session, const struct command *command);
enum flow verb_mail(struct session *session, const struct command *command);
enum flow verb_rcpt(struct session *session, const struct command *command);
enum flow verb_data(struct session *session, const struct command *command);
enum flow verb_bdat(struct session *session, const struct command *command);
enum flow verb_rset(struct session *session, const struct command *command);
enum flow verb_noop(struct session *session, const struct command *command);
enum flow verb_vrfy(struct session *session, const struct command *command);
enum flow verb_help(struct session *session, const struct command *command);
enum flow verb_quit(struct session *session, const struct command *command);
enum flow verb_unimplemented(struct session *session, const struct command *command);
enum flow verb_foreign(struct session *session, const struct command *command);
enum flow verb_unknown(struct session *session, const struct command *command);

/* verb_auth.c: a response line in CLIENT_SASL. */
enum flow sasl_response(struct session *session, const char *line, size_t len);

/* verb_hello.c: octets, and recipients, of a message that this session may send. */
uint64_t session_message_limit(const struct session *session);
unsigned session_recipient_limit(const struct session *session);

/* data_body.c: input in CLIENT_BODY and CLIENT_DISCARD; returns what was consumed. */
size_t data_read_body(struct session *session, const uint8_t *bytes, size_t len);

/* bdat_octets.c: likewise in CLIENT_CHUNK and CLIENT_SKIP. */
size_t bdat_read(struct session *session, const uint8_t *bytes, size_t len);

/* verb_bdat.c: a message in chunks fails; the client is told at the end of the present chunk, or of
 * the next.  Only while bdat_under_way(), see relay.h. */
void bdat_fail(struct session *session, enum reply_id reply, const char *reason);

/* verb_bdat.c: a BDAT that may not be given at all: its octets are no commands even so. */
enum flow bdat_refuse(
	struct session *session, const struct command *command, enum reply_id refusal);

/* data_body.c: the message at hand is given up: its backend connection is dropped, the client is
 * read on to its end of data and answered with reply.  Only in CLIENT_BODY, and in CLIENT_END while
 * the end of data has not been sent. */
void data_abandon(struct session *session, enum reply_id reply, const char *reason);

/* verb_hello.c: the greeting, when the connection may speak. */
void session_greet(struct session *session);

#endif
