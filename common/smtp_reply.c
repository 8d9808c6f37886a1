/* SPDX-License-Identifier: ISC */
/*
 * The parser of a server's reply; see smtp_reply.h.
 *
 * Lines are kept raw, each followed by LF (which no line can hold), and cut apart on access: the
 * usual reply has one line, and EHLO's few are walked once.
 */
#include "common/smtp_reply.h"

#include <stdlib.h>
#include <string.h>

void smtp_reply_init(struct smtp_reply *reply)
{
	/* Not the inline bytes: a session waits for many replies. */
	memset(reply, 0, offsetof(struct smtp_reply, inline_bytes));
	reply->status = SMTP_REPLY_MORE;
	reply->why = "";
	reply->capacity = sizeof reply->inline_bytes;
}

void smtp_reply_reset(struct smtp_reply *reply)
{
	free(reply->heap);
	smtp_reply_init(reply);
}

void smtp_reply_free(struct smtp_reply *reply)
{
	smtp_reply_reset(reply);
}

const char *smtp_reply_why(const struct smtp_reply *reply)
{
	return reply->why;
}

unsigned smtp_reply_class(const struct smtp_reply *reply)
{
	return reply->code / 100u;
}

bool smtp_reply_misplaced(const struct smtp_reply *reply)
{
	static const uint16_t elsewhere[] = {211, 214, 220, 221, 235};

	for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
		if (reply->code == elsewhere[i])
			return true;
	}
	return smtp_reply_class(reply) == 3;
}

bool smtp_reply_begun(const struct smtp_reply *reply)
{
	return reply->octets > 0;
}

static char *stored(struct smtp_reply *reply)
{
	return reply->heap != NULL ? reply->heap : reply->inline_bytes;
}

static const char *stored_const(const struct smtp_reply *reply)
{
	return reply->heap != NULL ? reply->heap : reply->inline_bytes;
}

static enum smtp_reply_status bad(struct smtp_reply *reply, const char *why)
{
	reply->status = SMTP_REPLY_BAD;
	reply->why = why;
	return SMTP_REPLY_BAD;
}

static enum smtp_reply_status grow(struct smtp_reply *reply)
{
	size_t capacity = reply->capacity * 4;
	char *heap;

	if (capacity > SMTP_REPLY_BYTES_MAX)
		capacity = SMTP_REPLY_BYTES_MAX;
	heap = realloc(reply->heap, capacity);
	if (heap == NULL)
		return bad(reply, "out of memory");
	if (reply->heap == NULL)
		memcpy(heap, reply->inline_bytes, reply->used);
	reply->heap = heap;
	reply->capacity = capacity;
	return SMTP_REPLY_MORE;
}

/* Stored octets never exceed the input's: one LF stands for each CRLF. */
static enum smtp_reply_status store(struct smtp_reply *reply, char octet)
{
	if (reply->used == reply->capacity && grow(reply) == SMTP_REPLY_BAD)
		return SMTP_REPLY_BAD;
	stored(reply)[reply->used++] = octet;
	return SMTP_REPLY_MORE;
}

/* RFC 3463 2: 1*3digit, no leading zeros.  Returns the octets taken; 0: none. */
static size_t parse_number(const char *text, size_t len, uint16_t *value_out)
{
	size_t i = 0;
	unsigned value = 0;

	for (; i < len && i < 3 && text[i] >= '0' && text[i] <= '9'; i++)
		value = value * 10 + (unsigned)(text[i] - '0');
	if (i > 1 && text[0] == '0')
		return 0;
	*value_out = (uint16_t)value;
	return i;
}

/*
 * An enhanced code of this class at the start of text, then a space or the end (RFC 2034 4: its
 * class must be the reply's).  Returns the octets to skip, with that space; 0: there is none.
 */
static size_t parse_enhanced(
	const char *text, size_t len, unsigned class, uint16_t *subject_out, uint16_t *detail_out)
{
	size_t at = 2, n;

	if (class == 3 || len < 5 || (unsigned)(text[0] - '0') != class || text[1] != '.')
		return 0;
	n = parse_number(text + at, len - at, subject_out);
	at += n;
	if (n == 0 || at == len || text[at] != '.')
		return 0;
	at++;
	n = parse_number(text + at, len - at, detail_out);
	at += n;
	if (n == 0 || (at < len && text[at] != ' '))
		return 0;
	return at < len ? at + 1 : at;
}

/* CRLF was read.  A line is at least a code; "250-" goes on, "250 " and "250" end the reply. */
static enum smtp_reply_status end_line(struct smtp_reply *reply)
{
	const char *line = stored(reply) + reply->line_start;
	size_t len = reply->used - reply->line_start;
	uint16_t subject, detail;
	bool last;

	if (len < 3)
		return bad(reply, "short line");
	last = len == 3 || line[3] == ' ';
	if (!reply->has_enhanced && len > 4 &&
		parse_enhanced(line + 4, len - 4, reply->code / 100u, &subject, &detail) > 0) {
		reply->has_enhanced = true;
		reply->class_ = (uint8_t)(reply->code / 100u);
		reply->subject = subject;
		reply->detail = detail;
	}
	if (store(reply, '\n') == SMTP_REPLY_BAD)
		return SMTP_REPLY_BAD;
	reply->line_start = reply->used;
	reply->line_count++;
	if (last)
		reply->status = SMTP_REPLY_DONE;
	else if (reply->line_count == SMTP_REPLY_LINES_MAX)
		return bad(reply, "too many lines");
	return reply->status;
}

/* The octets of the code and the separator are judged as they come, so junk ends early. */
static enum smtp_reply_status check_head(struct smtp_reply *reply, size_t column, char octet)
{
	if (column == 3)
		return octet == ' ' || octet == '-' ? SMTP_REPLY_MORE
						    : bad(reply, "no separator after the code");
	if (octet < '0' || octet > '9' || (column == 0 && (octet < '2' || octet > '5')))
		return bad(reply, "no reply code");
	if (reply->line_count > 0)
		return octet == stored(reply)[column] ? SMTP_REPLY_MORE
						      : bad(reply, "code changes between lines");
	/* RFC 5321 4.2: digits of the first line make the code, whole at column 2. */
	reply->code = (uint16_t)(reply->code * 10 + (octet - '0'));
	return SMTP_REPLY_MORE;
}

static enum smtp_reply_status take_octet(struct smtp_reply *reply, char octet)
{
	size_t column = reply->used - reply->line_start;

	if (++reply->octets > SMTP_REPLY_BYTES_MAX)
		return bad(reply, "reply too long");
	if (reply->after_cr) {
		reply->after_cr = false;
		return octet == '\n' ? end_line(reply) : bad(reply, "bare CR");
	}
	if (octet == '\r') {
		reply->after_cr = true;
		return SMTP_REPLY_MORE;
	}
	if (octet == '\n')
		return bad(reply, "bare LF");
	if (octet == '\0')
		return bad(reply, "NUL");
	if (column >= SMTP_REPLY_LINE_MAX - 2)
		return bad(reply, "line too long");
	if (column < 4 && check_head(reply, column, octet) == SMTP_REPLY_BAD)
		return SMTP_REPLY_BAD;
	if ((unsigned char)octet > 127)
		reply->eight_bit = true;
	return store(reply, octet);
}

enum smtp_reply_status smtp_reply_feed(
	struct smtp_reply *reply, const void *bytes, size_t len, size_t *consumed_out)
{
	const char *octets = bytes;
	size_t i = 0;

	while (i < len && reply->status == SMTP_REPLY_MORE)
		take_octet(reply, octets[i++]);
	*consumed_out = i;
	return reply->status;
}

/* Cuts code, separator and enhanced code off a stored line. */
static void strip_codes(const struct smtp_reply *reply, const char *line, size_t len,
	const char **text_out, size_t *len_out)
{
	size_t skip = len < 4 ? len : 4;
	uint16_t subject, detail;

	skip += parse_enhanced(line + skip, len - skip, reply->code / 100u, &subject, &detail);
	*text_out = line + skip;
	*len_out = len - skip;
}

bool smtp_reply_line(
	const struct smtp_reply *reply, size_t index, const char **text_out, size_t *len_out)
{
	const char *line = stored_const(reply);
	const char *end;

	if (index >= reply->line_count)
		return false;
	for (;;) {
		end = memchr(line, '\n', (size_t)(stored_const(reply) + reply->used - line));
		if (index-- == 0)
			break;
		line = end + 1;
	}
	strip_codes(reply, line, (size_t)(end - line), text_out, len_out);
	return true;
}
