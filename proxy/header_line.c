/* SPDX-License-Identifier: ISC */
/*
 * The header's lines and fields, an octet or a run at a time: where a line begins, its name, its
 * value.  A field is a line with a name and a colon, and the lines behind it that begin with white
 * space (RFC 5322 2.2.3).  What becomes of it is known at its colon; then it streams through, or is
 * dropped, or is held (From and Sender only) until the first octet of the next line says that it is
 * complete.  That octet is not consumed before the field is decided, so that a question to auth
 * stops the header at a clean place.
 *
 * Decisions about fields are header_field.c's.  Proxy process, loop thread.
 */
#include "proxy/header_parts.h"

#include "common/log.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_ROOM_MIN = 256 };

/* A line as it reads: where it begins with a dot, another one stuffs it (RFC 5321 4.5.2). */
static void write_start(struct header *header, const char *bytes, size_t len, struct evbuffer *out)
{
	if (header->policy.stuffed && len > 0 && bytes[0] == '.')
		header_write(header, ".", 1, out);
	header_write(header, bytes, len, out);
}

static bool white(char c)
{
	return c == ' ' || c == '\t';
}

/* ------------------------------------------------------------------------ held text */

static bool text_add(struct header *header, const char *bytes, size_t len)
{
	size_t need = header->text_len + len, room = header->text_room;
	char *text;

	if (len == 0)
		return true;
	if (need > room) {
		for (room = room == 0 ? TEXT_ROOM_MIN : room; room < need;)
			room *= 2;
		text = realloc(header->text, room);
		if (text == NULL)
			return false;
		header->text = text;
		header->text_room = room;
	}
	memcpy(header->text + header->text_len, bytes, len);
	header->text_len = need;
	return true;
}

/* More of the field at hand, up to HEADER_FIELD_MAX. */
static enum header_status hold(
	struct header *header, const char *bytes, size_t len, struct evbuffer *out)
{
	if (len > HEADER_FIELD_MAX - header->text_len) {
		if (header_strict(header))
			return header_refuse(header, HEADER_TOO_LARGE);
		header_note(header, HEADER_TOO_LARGE);
		header_write(header, header->text, header->text_len, out);
		header_write(header, bytes, len, out);
		header->fate = FATE_KEEP;
		return HEADER_MORE;
	}
	return text_add(header, bytes, len) ? HEADER_MORE : header_refuse(header, HEADER_NO_MEMORY);
}

/* ----------------------------------------------------------------------- line starts */

static bool held(const struct header *header)
{
	return header->fate == FATE_FROM || header->fate == FATE_SENDER;
}

/* The field before this line is complete, if there was one. */
enum header_status header_end_field(struct header *header, struct evbuffer *out)
{
	header->in_field = false;
	return held(header) ? header_decide(header, out) : HEADER_MORE;
}

enum header_status header_finish(struct header *header, struct evbuffer *out)
{
	enum header_status status = header_complete(header, out);

	if (status != HEADER_MORE)
		return status;
	header->state = STATE_OVER;
	header_free(header);
	return HEADER_BODY;
}

/*
 * White space, and no field that it could go on.  Behind the lines that we put on top it would go
 * on those, and forge a trace; so where it is not refused, it begins the body.
 */
static enum header_status folded_first(struct header *header, struct evbuffer *out)
{
	enum header_status status;

	if (header_strict(header))
		return header_refuse(header, HEADER_LINE_FOLDED_FIRST);
	header_note(header, HEADER_LINE_FOLDED_FIRST);
	status = header_finish(header, out);
	if (status == HEADER_BODY)
		header_write(header, "\r\n", 2, out);
	return status;
}

static enum header_status at_line(struct header *header, const char **at, struct evbuffer *out)
{
	enum header_status status;
	char c = **at;

	if (c == '.' && header->policy.stuffed && !header->dot) {
		header->dot = true;
		(*at)++;
		return HEADER_MORE;
	}
	header->cr = false;
	header->line = 0;
	if (white(c) && header->in_field) {
		header->state = STATE_VALUE;
		return HEADER_MORE;
	}
	status = header_end_field(header, out);
	if (status != HEADER_MORE)
		return status;
	if (white(c))
		return folded_first(header, out);
	header->state = c == '\r' ? STATE_EMPTY : STATE_NAME;
	*at += c == '\r';
	header->text_len = 0;
	header->space = false;
	return HEADER_MORE;
}

/* ------------------------------------------------------------------------------ names */

/* The line that a mailbox file puts before each message. */
static bool is_mbox(const struct header *header)
{
	const char *text = header->text;
	size_t len = header->text_len;

	if (header->first && len > 0 && text[0] == '>') {
		text++;
		len--;
	}
	return header->first && len >= strlen("From ") &&
	       memcmp(text, "From ", strlen("From ")) == 0;
}

/* The line is no field: at an octet that cannot stand where it stands.  That is not consumed. */
static enum header_status malformed(struct header *header, struct evbuffer *out)
{
	bool mbox = is_mbox(header);
	enum header_reason reason = mbox ? HEADER_LINE_MBOX : HEADER_LINE_MALFORMED;

	if (header_strict(header))
		return header_refuse(header, reason);
	header_note(header, reason);
	header->state = STATE_VALUE;
	header->in_field = !mbox; /* that line is no part of the message, and nothing goes on it */
	/* "Authentication-Results\v:" may be what it looks like to somebody. */
	header->fate = mbox || header_stripped(header, header->text, header->name_len) ? FATE_DROP
										       : FATE_KEEP;
	if (header->fate == FATE_KEEP)
		write_start(header, header->text, header->text_len, out);
	return HEADER_MORE;
}

/* The colon is in text. */
static enum header_status begin_value(struct header *header, struct evbuffer *out)
{
	enum header_fate fate;
	enum header_status status = header_classify(header, &fate);

	if (status != HEADER_MORE)
		return status;
	header->state = STATE_VALUE;
	header->in_field = true;
	header->line = (uint32_t)header->text_len;
	header->fate = (uint8_t)fate;
	if (fate == FATE_KEEP)
		write_start(header, header->text, header->text_len, out);
	return HEADER_MORE;
}

/* RFC 5322 2.2 ftext, and 4.5: white space behind the name. */
static size_t name_run(struct header *header, const char *at, const char *end)
{
	const char *from = at;

	if (!header->space) {
		while (at<end && * at> ' ' && *at < 0x7F && *at != ':')
			at++;
		header->name_len = header->text_len + (size_t)(at - from);
	}
	while (at < end && white(*at)) {
		header->space = true;
		at++;
	}
	return (size_t)(at - from);
}

static enum header_status at_name(
	struct header *header, const char **at, const char *end, struct evbuffer *out)
{
	size_t run;
	bool fits;

	run = name_run(header, *at, end);
	fits = run <= HEADER_NAME_MAX - header->text_len;
	if (!fits)
		run = HEADER_NAME_MAX - header->text_len;
	if (!text_add(header, *at, run))
		return header_refuse(header, HEADER_NO_MEMORY);
	*at += run;
	if (!fits)
		return malformed(header, out);
	if (*at == end)
		return HEADER_MORE;
	if (**at != ':' || header->name_len == 0)
		return malformed(header, out);
	if (!text_add(header, ":", 1))
		return header_refuse(header, HEADER_NO_MEMORY);
	(*at)++;
	return begin_value(header, out);
}

/* ----------------------------------------------------------------------------- values */

/* A CR that no LF follows, or an LF without one; bytes are the rest of a line, or a part of it. */
static bool has_bare(struct header *header, const char *bytes, size_t len, bool ends)
{
	size_t text = len - ends;
	const char *cr = memchr(bytes, '\r', text);
	bool bare = text > 0 && (header->cr || (cr != NULL && cr != bytes + text - 1));

	if (text > 0)
		header->cr = bytes[text - 1] == '\r';
	return bare || (ends && !header->cr);
}

/* Octets that this line may still have, and one: 0 when it is too long already. */
static size_t line_room(const struct header *header)
{
	return HEADER_LINE_MAX + 2 + 1 - header->line;
}

static bool line_too_long(struct header *header, size_t len)
{
	size_t room = line_room(header);

	header->line += (uint32_t)(len > room ? room : len);
	return line_room(header) == 0;
}

/* Not more than goes one octet beyond a limit, so that what is found first does not depend on how
 * the octets arrive. */
static size_t most(const struct header *header, size_t len)
{
	size_t all = HEADER_BYTES_MAX - header->bytes + 1;
	size_t line = line_room(header);

	if (held(header) && len > HEADER_FIELD_MAX - header->text_len + 1)
		len = HEADER_FIELD_MAX - header->text_len + 1;
	if (len > line && line > 0)
		len = line;
	return len > all && header_strict(header) ? all : len;
}

static enum header_status at_value(
	struct header *header, const char **at, const char *end, struct evbuffer *out)
{
	const char *bytes = *at, *lf;
	size_t len = most(header, (size_t)(end - bytes));

	lf = memchr(bytes, '\n', len);
	if (lf != NULL)
		len = (size_t)(lf + 1 - bytes);
	*at += len;
	if (has_bare(header, bytes, len, lf != NULL)) {
		if (header_strict(header))
			return header_refuse(header, HEADER_LINE_MALFORMED);
		header_note(header, HEADER_LINE_MALFORMED);
	}
	if (line_too_long(header, len)) {
		if (header_strict(header))
			return header_refuse(header, HEADER_LINE_LONG);
		header_note(header, HEADER_LINE_LONG);
	}
	if (lf != NULL) {
		header->state = STATE_LINE;
		header->dot = false;
		header->first = false;
	}
	switch ((enum header_fate)header->fate) {
	case FATE_KEEP:
		header_write(header, bytes, len, out);
		return HEADER_MORE;
	case FATE_DROP:
		return HEADER_MORE;
	case FATE_FROM:
	case FATE_SENDER:
		return hold(header, bytes, len, out);
	}
	panic("no such fate");
}

static enum header_status at_empty(struct header *header, const char **at, struct evbuffer *out)
{
	enum header_status status;

	if (**at != '\n') { /* a bare CR */
		if (!text_add(header, "\r", 1))
			return header_refuse(header, HEADER_NO_MEMORY);
		header->name_len = 0;
		return malformed(header, out);
	}
	(*at)++;
	status = header_finish(header, out);
	if (status == HEADER_BODY)
		header_write(header, "\r\n", 2, out);
	return status;
}

/* ------------------------------------------------------------------------- a step */

enum header_status header_step(
	struct header *header, const char **at, const char *end, struct evbuffer *out)
{
	switch ((enum header_state)header->state) {
	case STATE_LINE:
		return at_line(header, at, out);
	case STATE_NAME:
		return at_name(header, at, end, out);
	case STATE_VALUE:
		return at_value(header, at, end, out);
	case STATE_EMPTY:
		return at_empty(header, at, out);
	case STATE_OVER:
		break;
	}
	panic("the header is over");
}
