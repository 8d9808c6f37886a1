/* SPDX-License-Identifier: ISC */
/*
 * One mail transaction, from MAIL to its reply: what was asked, what auth granted, what the backend
 * said, and the settlement that each end of it owes to auth.
 */
#ifndef PROXY_TRANSACTION_H
#define PROXY_TRANSACTION_H

#include "common/ipc.h"
#include "proxy/body.h"
#include "proxy/chunk.h"
#include "proxy/command.h"
#include "proxy/recipient_hash.h"
#include "proxy/replies.h"

#include <stdbool.h>
#include <stdint.h>

struct author;
struct session;

enum take_state { TAKE_NONE, TAKE_PENDING, TAKE_GRANTED, TAKE_REFUSED, TAKE_SETTLED };

/* Where the end of data stands. */
enum end_state {
	END_NONE,
	END_TOP_UP, /* auth is asked for the octets beyond what the take was for */
	END_INTENT, /* ... for the intent */
	END_SENT,
	END_ANSWERED,
};

struct transaction {
	uint64_t id;
	uint64_t started_ms, taken_ms;
	uint64_t paused_ms, paused_since_ms; /* the backend made the client wait; 0: it does not */
	struct mail_arguments mail;
	struct path recipient;            /* the first accepted one, for the FOR clause */
	unsigned given, accepted;         /* recipients */
	unsigned wants;                   /* enum ipc_wants: what the take is to be told */
	struct recipient_hashes hashes;   /* with IPC_WANTS_RECIPIENTS, until the take is asked */
	unsigned tried;                   /* backend servers, a bit each */
	unsigned owed;                    /* replies to MAIL and RCPT that the backend still owes */
	bool mail_answered, mail_refused; /* by the backend */
	bool data_sent;                   /* the DATA command went to the backend */
	uint16_t data_code;               /* its reply; 0: none yet */
	enum take_state take;
	struct ipc_policy_verdict verdict; /* of the policy that refused it */
	enum end_state end;
	uint16_t code;      /* the reply that decided, for the log */
	const char *reason; /* a word for the log; NULL: the backend's reply */
	struct body body;
	bool discarding;       /* refusal or stored_reply answers the end of data */
	uint64_t discard_end;  /* of the body's octets that a revoked client is read on to */
	struct author *author; /* while the header lasts */
	bool all_in;           /* the end of data came; owner_answer() goes on with it */
	struct chunks chunks;  /* of a message that comes by BDAT */
	enum reply_id refusal;
	char *stored_reply; /* the backend's, well formed; owned */
	size_t stored_len;
	uint8_t queue_id_len;
	uint8_t queue_id[IPC_QUEUE_ID_MAX];
};

/* A new one for the session, registered with auth_client under its id.  NULL: out of memory. */
struct transaction *transaction_open(struct session *session) __attribute__((warn_unused_result));

/*
 * Ends it, whatever its stage: a take that was granted and is not settled is given back (or marked
 * unknown when the end of data was sent), one canonical log line is written, the object freed.
 * NULL-safe through session->transaction.
 */
void transaction_close(struct session *session);

/* The octets that its take was asked for: those that SIZE= declared. */
uint64_t transaction_declared(const struct transaction *transaction);

/* Keeps a recipient for the take, where it wants to know them.  False: out of memory. */
bool transaction_add_recipient(struct session *session, const struct path *recipient)
	__attribute__((warn_unused_result));

/* The take was asked for: its recipients are needed no more. */
void transaction_forget_recipients(struct transaction *transaction);

/* Sends the outcome to auth, once; kind decides what stays charged. */
void transaction_settle(struct session *session, enum ipc_outcome_kind kind);

#endif
