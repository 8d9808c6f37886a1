/* SPDX-License-Identifier: ISC */
/* Says a server's reply again to a client, within the RFC's limits; see smtp_reply.h. */
#include "common/smtp_reply.h"

#include <stdio.h>
#include <string.h>

struct output {
	char *bytes;
	size_t room;
	size_t len; /* may pass room: then only measured */
};

static void put(struct output *out, const char *bytes, size_t len)
{
	if (out->len <= out->room && len <= out->room - out->len)
		memcpy(out->bytes + out->len, bytes, len);
	out->len += len;
}

/* Enhanced codes for servers that give none (RFC 3463, RFC 5248); where a code says too little,
 * the class alone. */
static const struct {
	uint16_t code, subject, detail;
} defaults[] = {
	{251, 1, 5},
	{252, 1, 5},
	{421, 3, 2},
	{451, 3, 0},
	{452, 3, 1},
	{454, 7, 0},
	{500, 5, 2},
	{501, 5, 4},
	{502, 5, 1},
	{503, 5, 1},
	{504, 5, 4},
	{521, 3, 2},
	{530, 7, 0},
	{534, 7, 9},
	{535, 7, 8},
	{538, 7, 11},
	{551, 1, 6},
	{553, 1, 3},
	{555, 5, 4},
	{556, 1, 10},
};

/* Writes "2.1.5" into text; "" for a class that has none. */
static size_t enhanced_text(const struct smtp_reply *reply, char text[16])
{
	unsigned class = reply->code / 100u, subject = 0, detail = 0;

	if (class == 3)
		return 0;
	for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
		if (defaults[i].code == reply->code) {
			subject = defaults[i].subject;
			detail = defaults[i].detail;
		}
	}
	if (reply->has_enhanced) {
		subject = reply->subject;
		detail = reply->detail;
	}
	return (size_t)snprintf(text, 16, "%u.%u.%u", class, subject % 1000, detail % 1000);
}

/*
 * The length of the UTF-8 character at text (RFC 3629: no overlong form, no surrogate, at most
 * U+10FFFF); 0: it is none, or a C1 control.
 */
static size_t utf8_length(const unsigned char *text, size_t len)
{
	size_t n = text[0] >= 0xc2 && text[0] <= 0xdf   ? 2
		   : text[0] >= 0xe0 && text[0] <= 0xef ? 3
		   : text[0] >= 0xf0 && text[0] <= 0xf4 ? 4
							: 0;

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
		(text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f) ||
		(text[0] == 0xc2 && text[1] < 0xa0))
		return 0;
	return n;
}

/* Copies what is fit to be seen of text, at most room octets; returns the octets of text used. */
static size_t clean(
	const char *text, size_t len, bool utf8, char *line, size_t room, size_t *written_out)
{
	const unsigned char *octets = (const unsigned char *)text;
	size_t i = 0, written = 0;

	while (i < len) {
		size_t n = utf8 && octets[i] > 127 ? utf8_length(octets + i, len - i) : 0;
		if (written + (n == 0 ? 1 : n) > room)
			break;
		if (n > 0)
			memcpy(line + written, text + i, n);
		else if (octets[i] == '\t')
			line[written] = ' ';
		else
			line[written] = octets[i] >= 0x20 && octets[i] < 0x7f ? text[i] : '?';
		written += n == 0 ? 1 : n;
		i += n == 0 ? 1 : n;
	}
	*written_out = written;
	return i;
}

/* One line of the server's: one of ours, or several when it is too long. */
static void put_line(struct output *out, const struct smtp_reply *reply, const char *text,
	size_t len, bool utf8, bool last)
{
	char enhanced[16], line[SMTP_REPLY_OUT_LINE_MAX];
	size_t enhanced_len = enhanced_text(reply, enhanced);
	size_t done = 0;

	do {
		size_t written,
			at = (size_t)snprintf(line, sizeof line, "%03u ", reply->code % 1000u);
		memcpy(line + at, enhanced, enhanced_len);
		at += enhanced_len;
		if (enhanced_len > 0)
			line[at++] = ' ';
		done += clean(
			text + done, len - done, utf8, line + at, sizeof line - 2 - at, &written);
		if (written == 0 && enhanced_len > 0)
			at--; /* no space before nothing */
		at += written;
		if (!last || done < len)
			line[3] = '-';
		line[at] = '\r';
		line[at + 1] = '\n';
		put(out, line, at + 2);
	} while (done < len);
}

size_t smtp_reply_format(const struct smtp_reply *reply, bool utf8, char *out, size_t room)
{
	struct output output = {.bytes = out, .room = room};
	const char *text;
	size_t len;

	for (size_t i = 0; smtp_reply_line(reply, i, &text, &len); i++)
		put_line(&output, reply, text, len, utf8, i + 1 == reply->line_count);
	return output.len;
}
