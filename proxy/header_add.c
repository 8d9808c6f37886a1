/* SPDX-License-Identifier: ISC */
/*
 * The fields that are put into a message (RFC 6409 8).  What is not ours in them is reduced to what
 * may stand there, so that no value can end its line (threats.md F08).  Proxy process, loop thread.
 */
#include "common/clock.h"
#include "proxy/header_parts.h"

#include <string.h>

enum { VALUE_MAX = 255 };

static void write_text(struct header *header, const char *text, struct evbuffer *out)
{
	header_write(header, text, strlen(text), out);
}

/* At most VALUE_MAX octets of text; what is not printable ASCII, or is among not_these, becomes
 * "_". */
static void write_reduced(
	struct header *header, const char *text, const char *not_these, struct evbuffer *out)
{
	char reduced[VALUE_MAX];
	size_t len = 0;

	for (; text[len] != '\0' && len < VALUE_MAX; len++) {
		char c = text[len];

		reduced[len] = c > ' ' && c <= '~' && strchr(not_these, c) == NULL ? c : '_';
	}
	header_write(header, reduced, len, out);
}

void header_add_token(struct header *header, struct evbuffer *out)
{
	if (header->policy.token == NULL)
		return;
	write_text(header, "X-Postern-Token: ", out);
	write_reduced(header, header->policy.token, "", out);
	write_text(header, "\r\n", out);
}

void header_add_sender(struct header *header, const char *name, struct evbuffer *out)
{
	write_text(header, name, out);
	write_text(header, ": <", out);
	header_write(header, header->policy.sender, header->policy.sender_len, out);
	write_text(header, ">\r\n", out);
}

void header_add_date(struct header *header, struct evbuffer *out)
{
	char date[CLOCK_TEXT_MAX];

	write_text(header, "Date: ", out);
	write_text(header, clock_format_rfc5322(header->policy.wall_ms, date), out);
	write_text(header, "\r\n", out);
}

/* RFC 5322 3.6.4: two dot-atoms, or a literal on the right. */
void header_add_message_id(struct header *header, struct evbuffer *out)
{
	static const char specials[] = "()<>:;@\\,\"";

	write_text(header, "Message-ID: <", out);
	write_reduced(header, header->policy.transaction, specials, out);
	write_text(header, "@", out);
	write_reduced(header, header->policy.hostname, specials, out);
	write_text(header, ">\r\n", out);
}
