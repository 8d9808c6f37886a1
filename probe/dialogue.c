/* SPDX-License-Identifier: ISC */
/* A probe's dialogue with one server; see dialogue.h. */
#include "probe/dialogue.h"

#include "common/log.h"

#include <stdio.h>
#include <string.h>

void dialogue_begin(struct dialogue *dialogue, const char *hostname)
{
	memset(dialogue, 0, sizeof *dialogue);
	dialogue->state = DIALOGUE_GREETING;
	dialogue->hostname = hostname;
	dialogue->reason = "";
	smtp_reply_init(&dialogue->reply);
}

void dialogue_end(struct dialogue *dialogue)
{
	smtp_reply_free(&dialogue->reply);
	dialogue->state = DIALOGUE_OVER;
}

void dialogue_fail(struct dialogue *dialogue, const char *reason)
{
	if (dialogue->state < DIALOGUE_QUIT) {
		dialogue->up = false;
		dialogue->reason = reason;
	}
	dialogue->state = DIALOGUE_OVER;
}

const char *dialogue_timeout_reason(const struct dialogue *dialogue)
{
	switch (dialogue->state) {
	case DIALOGUE_GREETING:
		return "greeting timeout";
	case DIALOGUE_EHLO:
		return "EHLO timeout";
	case DIALOGUE_HELO:
		return "HELO timeout";
	case DIALOGUE_QUIT:
	case DIALOGUE_OVER:
		return "QUIT timeout";
	}
	panic("no such state");
}

static size_t say(struct dialogue *dialogue, enum dialogue_state next, const char *verb, char *out)
{
	dialogue->state = next;
	return (size_t)snprintf(out, DIALOGUE_LINE_MAX, "%s %.255s\r\n", verb, dialogue->hostname);
}

static size_t conclude(struct dialogue *dialogue, bool up, const char *reason, char *out)
{
	dialogue->up = up;
	dialogue->reason = reason;
	dialogue->code = dialogue->reply.code;
	dialogue->state = DIALOGUE_QUIT;
	return (size_t)snprintf(out, DIALOGUE_LINE_MAX, "QUIT\r\n");
}

/* RFC 5321 4.3.2: 220 opens, 250 takes EHLO and HELO; a proxy's connection insists on the same. */
static size_t on_reply(struct dialogue *dialogue, char *out)
{
	unsigned code = dialogue->reply.code;

	switch (dialogue->state) {
	case DIALOGUE_GREETING:
		if (code != 220)
			return conclude(dialogue, false, "greeting refused", out);
		return say(dialogue, DIALOGUE_EHLO, "EHLO", out);
	case DIALOGUE_EHLO:
		/* RFC 5321 3.2: a server without EHLO answers 5yz, and HELO is tried. */
		if (code / 100 == 5)
			return say(dialogue, DIALOGUE_HELO, "HELO", out);
		if (code != 250)
			return conclude(dialogue, false, "EHLO refused", out);
		capability_parse(&dialogue->reply, &dialogue->capabilities);
		return conclude(dialogue, true, "", out);
	case DIALOGUE_HELO:
		if (code != 250)
			return conclude(dialogue, false, "HELO refused", out);
		return conclude(dialogue, true, "", out);
	case DIALOGUE_QUIT:
	case DIALOGUE_OVER:
		dialogue->state = DIALOGUE_OVER;
		return 0;
	}
	panic("no such state");
}

size_t dialogue_take(struct dialogue *dialogue, const void *bytes, size_t len, char *out)
{
	size_t consumed, said = 0;

	if (dialogue->state == DIALOGUE_OVER || len == 0)
		return 0;
	switch (smtp_reply_feed(&dialogue->reply, bytes, len, &consumed)) {
	case SMTP_REPLY_MORE:
		return 0;
	case SMTP_REPLY_BAD:
		dialogue_fail(dialogue, smtp_reply_why(&dialogue->reply));
		return 0;
	case SMTP_REPLY_DONE:
		break;
	}
	/* One command is out at a time: whatever follows its reply came unasked. */
	if (consumed < len)
		dialogue_fail(dialogue, "unsolicited reply");
	else
		said = on_reply(dialogue, out);
	smtp_reply_reset(&dialogue->reply);
	return said;
}
