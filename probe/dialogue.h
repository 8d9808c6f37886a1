/* SPDX-License-Identifier: ISC */
/*
 * What a probe says to a server, and what it concludes: greeting, EHLO (else HELO), QUIT.  Pure: no
 * socket, no clock; time and bytes come from attempt.c.
 */
#ifndef PROBE_DIALOGUE_H
#define PROBE_DIALOGUE_H

#include "common/capability.h"
#include "common/smtp_reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dialogue_state {
	DIALOGUE_GREETING, /* waits for 220 */
	DIALOGUE_EHLO,     /* ... for the reply to EHLO */
	DIALOGUE_HELO,
	DIALOGUE_QUIT, /* the verdict is in; QUIT was said */
	DIALOGUE_OVER, /* nothing more to say or hear: close */
};

enum { DIALOGUE_LINE_MAX = 300 }; /* "EHLO ", a domain, CRLF, NUL */

struct dialogue {
	enum dialogue_state state;
	const char *hostname; /* the caller's; outlives the dialogue */
	struct smtp_reply reply;

	/* The verdict, from DIALOGUE_QUIT on (DIALOGUE_OVER may come without one: closed early). */
	bool up;
	struct capability_set capabilities; /* when up */
	const char *reason;                 /* when not: a few fixed words for the log */
	uint16_t code;                      /* of the reply that decided; 0: none */
};

void dialogue_begin(struct dialogue *dialogue, const char *hostname);
void dialogue_end(struct dialogue *dialogue); /* frees what a long reply took */

/*
 * Takes what the server sent.  Returns the length of a line to send now, 0 for none; out holds
 * DIALOGUE_LINE_MAX.  Look at state afterwards.  A reply that nothing asked for, or one that is not
 * SMTP, is a verdict against the server: a session would lose its connection to it as well.
 */
size_t dialogue_take(struct dialogue *dialogue, const void *bytes, size_t len, char *out);

/* The connection failed, closed or passed a deadline; a verdict that is in stays. */
void dialogue_fail(struct dialogue *dialogue, const char *reason);

/* What the present deadline is about, for the log: "greeting timeout", ... */
const char *dialogue_timeout_reason(const struct dialogue *dialogue);

#endif
