/* SPDX-License-Identifier: ISC */
/*
 * What a backend server offers: EHLO's reply as enum ipc_capability bits, SIZE's value and those of
 * LIMITS, and what several servers have in common.  Pure; any process.  A keyword that is not in
 * the list is never kept, so it can never be repeated to a client.
 */
#ifndef COMMON_CAPABILITY_H
#define COMMON_CAPABILITY_H

#include "common/ipc.h"
#include "common/smtp_reply.h"

#include <stddef.h>
#include <stdint.h>

struct capability_set {
	uint32_t bits; /* enum ipc_capability */
	uint64_t size; /* SIZE's value in octets; 0: no limit told */
	/* LIMITS (RFC 9422 3), 0 likewise: recipients and their domains in a transaction, and
	 * transactions in a session. */
	uint32_t rcpt_max, mail_max, rcpt_domain_max;
};

/*
 * Reads a whole reply to EHLO.  The first line is the server's name (RFC 5321 4.1.1.1), each other
 * one a keyword in any case, and parameters.  Any code but 250 gives the empty set: the server took
 * no EHLO.  A SIZE whose value is no number up to 2^64-1 is a SIZE without a value (RFC 1870 4);
 * of several the smallest counts.  Likewise a limit whose value is not 1..999999 is not told.
 */
void capability_parse(const struct smtp_reply *ehlo, struct capability_set *set_out);

/* Adds one keyword line, without its code. */
void capability_add(struct capability_set *set, const char *line, size_t len);

/*
 * Cuts set down to what both offer.  The smaller size and limit counts, 0 being none; it counts
 * even when the other server has no SIZE or LIMITS at all.
 */
void capability_intersect(struct capability_set *set, const struct capability_set *other);

enum { CAPABILITY_TEXT_MAX = 200 };

/* "PIPELINING 8BITMIME SIZE=10240000 RCPTMAX=100"; "none" when there is nothing; returns text. */
const char *capability_format(const struct capability_set *set, char text[CAPABILITY_TEXT_MAX]);

#endif
