/* SPDX-License-Identifier: ISC */
/*
 * Whose a message says it is: the header stage (header.h) in its place between body.c and the
 * backend, with the policy of the listener and the account, and its questions to auth.
 *
 * Exists from the beginning of a body to the end of its header.  While auth is asked (AWAIT_OWNER)
 * the client is not read: author_waiting().
 */
#ifndef PROXY_AUTHOR_H
#define PROXY_AUTHOR_H

#include "proxy/session.h"

#include <event2/buffer.h>
#include <stdbool.h>

struct author;

/* Before the first octet of a body.  stuffed: as header.h has it.  False: out of memory. */
bool author_begin(struct session *session, bool stuffed) __attribute__((warn_unused_result));

/* With the transaction; NULL-safe. */
void author_free(struct author **author);

/* Where body.c writes while the header lasts; NULL: it is over, write to the backend. */
struct evbuffer *author_in(const struct session *session);

enum author_verdict {
	AUTHOR_PASS,    /* what there was has gone on to out */
	AUTHOR_WAIT,    /* auth is asked: author_answered() goes on */
	AUTHOR_REFUSED, /* reply and reason are set; the message must not reach its end */
};

/*
 * Hands on what body.c wrote.  ended: no more will come.  After AUTHOR_REFUSED the caller abandons
 * the message.
 */
enum author_verdict author_pass(struct session *session, struct evbuffer *out, bool ended,
	enum reply_id *reply_out, const char **reason_out);

/* The answer to AUTHOR_WAIT: as author_pass(). */
enum author_verdict author_answered(struct session *session, enum ipc_policy policy,
	struct evbuffer *out, enum reply_id *reply_out, const char **reason_out);

bool author_waiting(const struct session *session);

#endif
