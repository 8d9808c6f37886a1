/* SPDX-License-Identifier: ISC */
/*
 * The backend's own name for a message it accepted, as servers write it into the reply to the end
 * of data: "Ok: queued as 4XyZ" (Postfix), "OK id=1abc-..." (Exim), "... Message accepted for
 * delivery" with the id first (Sendmail, OpenSMTPD).  For the log only.  Pure.
 */
#ifndef PROXY_QUEUE_ID_H
#define PROXY_QUEUE_ID_H

#include "common/smtp_reply.h"

#include <stddef.h>
#include <stdint.h>

/* Returns its length, at most room; 0: none found. */
size_t queue_id_find(const struct smtp_reply *reply, uint8_t *out, size_t room);

#endif
