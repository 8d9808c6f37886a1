/* SPDX-License-Identifier: ISC */
/*
 * What the files of a message share, however it comes: verb_data.c (DATA, the take), data_body.c
 * (its octets), data_end.c (its end), verb_bdat.c (BDAT) and bdat_octets.c (its octets).  What is
 * called from elsewhere is in relay.h and session.h.
 */
#ifndef PROXY_DATA_H
#define PROXY_DATA_H

#include "common/smtp_reply.h"
#include "proxy/replies.h"

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* ---------------------------------------------------------------- data_body.c */

/* Where a message's octets go on their way. */
struct evbuffer *data_out(const struct session *session);

/* ... and where body.c writes them: the header stage, while the header lasts. */
struct evbuffer *data_in(const struct session *session);

void data_write_trace(struct session *session);

/* Everything that DATA waits for is there: 354. */
void data_begin_body(struct session *session);

/* The reply that a message given up is answered: transaction.refusal. */
void data_tell_refusal(struct session *session);

/* The most octets that this message may have, by our limits and the backend's. */
uint64_t data_limit(const struct session *session);

/* Why the message must not go on, as far as its octets tell; false: it may. */
bool data_refusal(struct session *session, enum reply_id *reply_out, const char **reason_out);

/* The backend takes no more at present: the client is not read until data_resume(). */
void data_pause(struct session *session);

/* ----------------------------------------------------------------- data_end.c */

/* Everything but the end is sent, in CLIENT_END: what the take did not know of is taken, and the
 * intent asked for. */
void data_end(struct session *session);

/* The transaction is over and its reply written. */
void data_finish(struct session *session);

/* ---------------------------------------------------------------- verb_bdat.c */

/* The take, and where it is asked the backend's reply to DATA, are known. */
void bdat_decide(struct session *session);

/* It fails by a reply of the backend's that ends it early; see bdat_fail() in session.h. */
void bdat_refused(struct session *session, const struct smtp_reply *reply);

/* Input in CLIENT_SKIP; returns what was consumed. */
size_t bdat_drop(struct session *session, size_t len);

/* -------------------------------------------------------------- bdat_octets.c */

/* Octets of the chunk at hand, perhaps its last, are with body.c: on through the header stage. */
void bdat_took(struct session *session);

/* The header stage let pass what was read of a chunk. */
void bdat_passed(struct session *session);

/* The backend takes octets again. */
void bdat_advance(struct session *session);

void bdat_send_end(struct session *session);

#endif
