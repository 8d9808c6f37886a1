/* SPDX-License-Identifier: ISC */
/*
 * The messages between processes: one struct a type, of fixed size, in host order (both ends are
 * the same machine and the same binary).  Text fields are a length and bytes, never NUL-terminated;
 * every length is checked by ipc_valid() before a frame reaches its handler.
 *
 * No struct has a hole: what stands there would leave with the frame, and an initialiser clears a
 * member called padding, but not a hole.
 *
 * proxy <-> auth: requests carry an id that the answer repeats.  auth knows which account a session
 * belongs to from its own verdict; a proxy only names the session.
 */
#ifndef COMMON_IPC_H
#define COMMON_IPC_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wpadded"

enum { IPC_VERSION = 1 };

enum {
	IPC_LOGIN_MAX = 320,   /* octets of a login, after preparation too */
	IPC_SECRET_MAX = 1024, /* octets of a password */
	IPC_PATH_MAX = 320,    /* octets of an address: 64 + 1 + 255 (RFC 5321 4.5.3.1) */
	IPC_PHC_MAX = 256,     /* octets of a stored hash */
	IPC_QUEUE_ID_MAX = 64, /* octets of a backend's queue id */
	IPC_METER_NAME_MAX = 48,
	IPC_HELO_MAX = 255,      /* octets of what a client calls itself; the rest is cut off */
	IPC_TOKEN_MAX = 32,      /* octets of an account's token for abuse reports */
	IPC_BACKEND_MAX = 63,    /* octets of a backend server's address in text */
	IPC_RECIPIENTS_MAX = 64, /* in one frame */
};

enum ipc_type {
	/* proxy -> auth */
	IPC_AUTH_REQUEST = 1,
	IPC_AUTH_CANCEL, /* the client left: its log-in need not be decided */
	IPC_MAIL_REQUEST,
	IPC_OWNER_REQUEST, /* does the account own an address of the header? */
	IPC_RECIPIENTS,    /* whom a take is about to be asked for */
	IPC_TAKE_REQUEST,
	IPC_INTENT,
	IPC_OUTCOME,
	IPC_SESSION_END,
	IPC_ATTACH_SESSION, /* after a new channel: one a live session */
	IPC_ATTACH_TRANSACTION,
	IPC_ATTACH_DONE,
	/* auth -> proxy */
	IPC_AUTH_VERDICT,
	IPC_MAIL_VERDICT,
	IPC_OWNER_VERDICT,
	IPC_TAKE_VERDICT,
	IPC_INTENT_DONE,
	IPC_OUTCOME_DONE,
	IPC_SESSION_REVOKED,
	IPC_BLOCK, /* the networks that may not come in: a whole list, anew after each change */
	/* auth -> hash, hash -> auth */
	IPC_HASH_REQUEST,
	IPC_HASH_RESULT,
	/* probe -> proxy */
	IPC_SERVER_STATE,
	/* master -> child, child -> master (the control socket) */
	IPC_CONTROL_CHANNEL,
	IPC_CONTROL_COUNTERS,
	IPC_CONTROL_DRAIN,
	IPC_CONTROL_READY,
	IPC_TYPE_END,
};

/* What stands before each payload on the wire. */
struct ipc_header {
	uint32_t size; /* of the payload */
	uint8_t version;
	uint8_t type;
	uint16_t reserved; /* 0 */
	uint64_t id;
};

/* ------------------------------------------------------------------ log-in */
enum ipc_mechanism { IPC_MECHANISM_PLAIN = 1, IPC_MECHANISM_LOGIN };

struct ipc_auth_request { /* id: the session's */
	struct address_key client;
	uint8_t mechanism;       /* enum ipc_mechanism */
	uint8_t authzid_differs; /* PLAIN with a foreign authorization identity: refused, equal work
				  */
	uint16_t login_len, secret_len;
	uint8_t login[IPC_LOGIN_MAX];
	uint8_t secret[IPC_SECRET_MAX];
	uint8_t helo_len;
	uint8_t helo[IPC_HELO_MAX];
};

enum ipc_auth_result {
	IPC_AUTH_OK = 1,
	IPC_AUTH_REFUSED,     /* 535: unknown, wrong, disabled, malformed hash alike */
	IPC_AUTH_UNAVAILABLE, /* 454: trouble of ours */
	IPC_AUTH_HELD,        /* 454: too many wrong guesses, decided before any look-up */
	IPC_AUTH_BLOCKED,     /* 421: the client's network is blocked */
	IPC_AUTH_SESSIONS,    /* 421: the account has as many sessions as it may have */
};

/* What is done about a header From that the account does not own. */
enum ipc_from_policy {
	IPC_FROM_LISTENER, /* an account's: whatever the listener says */
	IPC_FROM_OFF,      /* not looked at */
	IPC_FROM_OBSERVE,  /* looked at and logged */
	IPC_FROM_REJECT,   /* 550 after the end of data */
	IPC_FROM_REWRITE,  /* replaced by the envelope sender */
};

struct ipc_auth_verdict {             /* id: the session's */
	uint64_t account, credential; /* credential 0: the account's own password */
	uint64_t version;             /* of the row that decided */
	uint64_t password_version;    /* likewise; another one ends a session by password */
	uint64_t message_bytes;       /* the account's own limit; 0: none */
	uint32_t recipients;          /* in one message, likewise */
	uint8_t result;               /* enum ipc_auth_result */
	uint8_t from_policy;          /* enum ipc_from_policy, the account's own */
	uint16_t login_len;
	uint8_t token_len; /* 0: none */
	uint8_t token[IPC_TOKEN_MAX];
	uint8_t login[IPC_LOGIN_MAX]; /* prepared */
	uint8_t padding[7];
};

/* ------------------------------------------------------------ MAIL and take */
struct ipc_mail_request { /* id: the transaction's */
	uint64_t session;
	uint16_t sender_len; /* 0: the null reverse-path */
	uint8_t sender[IPC_PATH_MAX];
	uint8_t padding[6];
};

struct ipc_owner_request { /* id: the transaction's */
	uint64_t session;
	uint32_t question; /* several may be asked in a transaction: repeated in the answer */
	uint16_t address_len;
	uint8_t address[IPC_PATH_MAX];
	uint8_t padding[2];
};

/*
 * Whom the next take of the transaction is for: its accepted recipients, in as many frames as it
 * takes.  Only where the MAIL verdict wants them.
 */
struct ipc_recipients { /* id: the transaction's */
	uint64_t session;
	uint16_t count;
	uint8_t padding[6];
	uint64_t hash[IPC_RECIPIENTS_MAX]; /* recipient_hash() in proxy/ */
};

struct ipc_take_request { /* id: the transaction's */
	uint64_t session;
	uint64_t bytes; /* of SIZE=, else 0 */
	/* Both 0: not a take of its own, but octets besides what the transaction's take was for. */
	uint32_t messages, recipients;
};

enum ipc_policy {
	IPC_POLICY_OK = 1,
	IPC_POLICY_SENDER,       /* 550: the account does not own it */
	IPC_POLICY_LIMIT,        /* 450: see the meter */
	IPC_POLICY_LIMIT_NEVER,  /* 550: more than the limit itself */
	IPC_POLICY_LIMIT_REJECT, /* 550: see the meter, of a plan that rejects */
	IPC_POLICY_REVOKED,      /* 421: disabled, deleted or changed meanwhile */
	IPC_POLICY_UNAVAILABLE,  /* 451: trouble of ours */
};

/* What an account's meters want to be told of a message: bits. */
enum ipc_wants {
	IPC_WANTS_BYTES = 1u << 0,      /* what the body exceeds SIZE= by is to be taken too */
	IPC_WANTS_RECIPIENTS = 1u << 1, /* who they are */
};

struct ipc_policy_verdict { /* MAIL_VERDICT and TAKE_VERDICT; id: the transaction's */
	uint64_t limit;     /* of the meter that refused */
	uint64_t reset_s;   /* when the request would fit, seconds since 1970 */
	uint8_t policy;     /* enum ipc_policy */
	uint8_t meter_len;
	uint8_t meter[IPC_METER_NAME_MAX]; /* "messages per hour" */
	uint8_t wants;                     /* of MAIL: enum ipc_wants */
	uint8_t padding[5];
};

struct ipc_owner_verdict { /* id: the transaction's */
	uint32_t question; /* the request's */
	uint8_t policy;    /* enum ipc_policy, but never a limit */
	uint8_t padding[3];
};

/* ------------------------------------------------------- intent and outcome */
struct ipc_intent { /* id: the transaction's.  Answered by INTENT_DONE before the end of data leaves
		     */
	uint64_t session;
	uint64_t bytes;
	uint32_t recipients;
	struct address_key client;
	uint16_t sender_len;
	uint8_t backend_len;
	uint8_t backend[IPC_BACKEND_MAX]; /* "192.0.2.10:25" */
	uint8_t sender[IPC_PATH_MAX];
	uint8_t padding[2];
};

enum ipc_outcome_kind {
	IPC_OUTCOME_ACCEPTED = 1, /* the backend said 250 */
	IPC_OUTCOME_REFUSED,      /* ... something else */
	IPC_OUTCOME_ABORTED,      /* the end of data was never sent */
	IPC_OUTCOME_UNKNOWN,      /* lost after the end of data: stays charged */
};

struct ipc_outcome { /* id: the transaction's.  Repeated until OUTCOME_DONE; taken idempotently */
	uint64_t session;
	uint64_t bytes;
	uint64_t at_ms; /* when it was known, wall clock */
	uint32_t recipients;
	uint16_t code; /* the backend's reply; 0: none */
	uint8_t kind;  /* enum ipc_outcome_kind */
	uint8_t queue_id_len;
	uint8_t queue_id[IPC_QUEUE_ID_MAX];
};

struct ipc_done {   /* INTENT_DONE, OUTCOME_DONE */
	uint8_t ok; /* 0: could not be recorded: 451 before the end of data; repeat an outcome later
		     */
};

/* ------------------------------------------------------ sessions, re-attach */
/* ATTACH_SESSION, SESSION_END, AUTH_CANCEL; id: the session's.  ATTACH_SESSION repeats its verdict,
 * the login by which auth looks again among it; the others need nothing of it. */
struct ipc_session {
	struct address_key client; /* the request's, by which a credential may be bound */
	uint64_t account, credential, version, password_version;
	uint64_t message_bytes;
	uint32_t recipients;
	uint8_t from_policy; /* enum ipc_from_policy */
	uint8_t reserved;
	uint16_t login_len;
	uint8_t login[IPC_LOGIN_MAX];
};

struct ipc_attach_transaction { /* id: the transaction's */
	uint64_t session;
	uint32_t messages, recipients;
	uint8_t taken; /* the grant had come */
	uint8_t padding[7];
};

struct ipc_attach_done {
	uint64_t sessions; /* how many were announced */
};

struct ipc_session_revoked { /* id: the session's; 421 4.7.0 */
	uint8_t reason;
};

/* ------------------------------------------------------------------- blocks */
enum ipc_block_step {
	IPC_BLOCK_BEGIN = 1, /* a new list; the old one holds until END */
	IPC_BLOCK_NETWORK,
	IPC_BLOCK_END,
};

struct ipc_block {
	struct address_key network; /* cut to its bits; of NETWORK only, as the next two */
	uint64_t for_ms;            /* from now on */
	uint8_t bits;               /* 0 to 128 */
	uint8_t step;               /* enum ipc_block_step */
	uint8_t padding[6];
};

/* --------------------------------------------------------------------- hash */
struct ipc_hash_request {
	uint64_t memory_bytes; /* with passes: what a new hash is to cost; 0 with a stored one */
	uint32_t passes;
	uint16_t phc_len; /* 0: make a new hash of the secret */
	uint16_t secret_len;
	uint8_t phc[IPC_PHC_MAX]; /* parsed and capped by auth before, and again by the hash process
				   */
	uint8_t secret[IPC_SECRET_MAX];
};

enum ipc_hash_outcome {
	IPC_HASH_MATCH = 1,
	IPC_HASH_MISMATCH,
	IPC_HASH_FAILED,
	IPC_HASH_MADE, /* the answer to phc_len 0, and to nothing else: it says nothing of a match
			*/
};

struct ipc_hash_result {
	uint64_t cpu_us;
	uint16_t phc_len; /* not 0 with MADE, 0 without */
	uint8_t outcome;  /* enum ipc_hash_outcome */
	uint8_t padding[5];
	uint8_t phc[IPC_PHC_MAX];
};

/* -------------------------------------------------------------------- probe */
enum ipc_capability {
	CAPABILITY_PIPELINING = 1u << 0,
	CAPABILITY_8BITMIME = 1u << 1,
	CAPABILITY_SMTPUTF8 = 1u << 2,
	CAPABILITY_DSN = 1u << 3,
	CAPABILITY_SIZE = 1u << 4,
	CAPABILITY_ENHANCEDSTATUSCODES = 1u << 5,
	CAPABILITY_CHUNKING = 1u << 6,
	CAPABILITY_EHLO = 1u << 7, /* it took EHLO at all */
	CAPABILITY_BINARYMIME = 1u << 8,
};

struct ipc_server_state {
	uint16_t backend, server; /* indices into the configuration */
	uint32_t capabilities;    /* enum ipc_capability */
	uint64_t size;            /* SIZE's value; 0: no limit told */
	/* LIMITS' values (RFC 9422), likewise: of one transaction, one session, one transaction */
	uint32_t rcpt_max, mail_max, rcpt_domain_max;
	uint8_t up;
	uint8_t padding[3];
};

/* ------------------------------------------------------------------ control */
enum ipc_process { /* who is at the other end of a channel, or owns a page of counters */
	IPC_PROCESS_MASTER = 1,
	IPC_PROCESS_AUTH,
	IPC_PROCESS_HASH,
	IPC_PROCESS_PROXY,
	IPC_PROCESS_PROBE,
	IPC_PROCESS_ADMIN,
};

struct ipc_control {     /* CONTROL_CHANNEL and CONTROL_COUNTERS carry one descriptor */
	uint8_t process; /* enum ipc_process */
	uint8_t reserved[3];
	uint32_t index; /* proxy0, proxy1, ... */
};

#pragma GCC diagnostic pop

/* The payload's size of a type; 0: no such type.  An empty payload has a 1-byte struct. */
size_t ipc_size(enum ipc_type type);
const char *ipc_name(enum ipc_type type);

/* Whether every length and enum in a payload of the right size is within its bounds. */
bool ipc_valid(enum ipc_type type, const void *payload);

#endif
