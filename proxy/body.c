/* SPDX-License-Identifier: ISC */
/*
 * The body as a machine of six states over octets, with a fast way for what is nearly all of them:
 * runs of text whose line ends are all CRLF and whose lines begin with no dot are found by memchr()
 * and copied whole.  Chunks never come to the two states of a held dot.  The position of the next
 * CR and LF is kept between runs, so that every octet is looked at a fixed number of times however
 * the line ends are mixed.
 *
 * What is held back between calls is a count, never bytes of the client.  Limits on the size, and
 * what a NUL or a bare line end costs, are the session's business.  Proxy process, loop thread.
 */
#include "proxy/body.h"

#include "common/log.h"

#include <string.h>

enum body_state {
	STATE_LINE,    /* a line begins that the client began by CR LF: a dot may be the end */
	STATE_MADE,    /* a line begins after a bare LF: a dot is stuffed, where dots are */
	STATE_TEXT,    /* within a line */
	STATE_CRS,     /* held CRs: a line end, or spaces */
	STATE_DOT,     /* STATE_LINE and a dot, which is held */
	STATE_DOT_CRS, /* ... and held CRs */
};

enum {
	STAGE_MAX = 4096, /* small pieces are gathered here, so that LF-only text costs no call a
			     line */
	DIRECT_MIN = 512,
	END_LEN = 3, /* ".\r\n" */
};

struct writer {
	struct evbuffer *out; /* NULL: nothing is to be written (any more) */
	bool failed;
	size_t staged;
	uint8_t stage[STAGE_MAX];
};

struct scan {
	const uint8_t *at, *end;
	const uint8_t *cr, *lf; /* the next of each at or after at; end: none */
	const uint8_t *nul;     /* the first NUL; end: none */
};

static void writer_flush(struct writer *writer)
{
	if (writer->out != NULL && writer->staged > 0 &&
		evbuffer_add(writer->out, writer->stage, writer->staged) == -1) {
		writer->failed = true;
		writer->out = NULL;
	}
	writer->staged = 0;
}

static void emit(struct writer *writer, const void *bytes, size_t len)
{
	if (writer->out == NULL)
		return;
	if (len > STAGE_MAX - writer->staged || len >= DIRECT_MIN)
		writer_flush(writer);
	if (writer->out == NULL)
		return;
	if (len < DIRECT_MIN) {
		memcpy(writer->stage + writer->staged, bytes, len);
		writer->staged += len;
	} else if (evbuffer_add(writer->out, bytes, len) == -1) {
		writer->failed = true;
		writer->out = NULL;
	}
}

static void emit_spaces(struct writer *writer, size_t count)
{
	uint8_t spaces[BODY_HELD_MAX];

	memset(spaces, ' ', count);
	emit(writer, spaces, count);
}

static const uint8_t *find(const struct scan *scan, const uint8_t *from, int octet)
{
	const uint8_t *found =
		from == scan->end ? NULL : memchr(from, octet, (size_t)(scan->end - from));

	return found == NULL ? scan->end : found;
}

/*
 * How far the octets from scan->at may pass as they are; *state (one of the three in which nothing
 * is held, and no dot is next in the first two) becomes that after them.
 */
static const uint8_t *run_end(struct scan *scan, const uint8_t *limit, enum body_state *state)
{
	const uint8_t *line = scan->at;

	for (;;) {
		const uint8_t *stop;

		if (scan->lf < line)
			scan->lf = find(scan, line, '\n');
		if (scan->cr < line)
			scan->cr = find(scan, line, '\r');
		stop = scan->cr < scan->lf ? scan->cr : scan->lf;
		if (limit <= stop || scan->lf == scan->end || scan->lf - scan->cr != 1) {
			if (limit < stop)
				stop = limit;
			if (stop > line)
				*state = STATE_TEXT;
			return stop;
		}
		line = scan->lf + 1;
		*state = STATE_LINE;
		if (line == scan->end || *line == '.')
			return line;
	}
}

/* One more CR.  A run longer than what is held gives up its oldest as spaces: memory stays bounded.
 */
static void hold_cr(struct body *body, struct writer *writer)
{
	if (body->held < BODY_HELD_MAX) {
		body->held++;
		return;
	}
	body->saw_bare = true;
	if (body->state == STATE_DOT_CRS)
		emit(writer, ".", 1);
	emit(writer, " ", 1);
	body->state = STATE_CRS;
}

/* Nothing is held.  NUL comes here as well as text. */
static void step_text(struct body *body, uint8_t octet, struct writer *writer)
{
	if (octet == '\r') {
		body->held = 1;
		body->state = STATE_CRS;
	} else if (octet == '\n') {
		body->saw_bare = true;
		emit(writer, "\r\n", 2);
		body->state = STATE_MADE;
	} else if (octet == '.' && body->state == STATE_LINE && body->mode == BODY_DATA) {
		body->state = STATE_DOT;
	} else {
		if (octet == '.' && body->state != STATE_TEXT && body->mode != BODY_CHUNKS)
			emit(writer, ".", 1);
		if (octet != '\0')
			emit(writer, &octet, 1);
		body->state = STATE_TEXT;
	}
}

static void step_crs(struct body *body, uint8_t octet, struct writer *writer)
{
	if (octet == '\r') {
		hold_cr(body, writer);
	} else if (octet == '\n') {
		body->saw_bare |= body->held > 1;
		emit(writer, "\r\n", 2);
		body->state =
			STATE_LINE; /* the octets CR LF are there, whatever stood before them */
	} else {
		body->saw_bare = true;
		emit_spaces(writer, body->held);
		body->state = STATE_TEXT;
		step_text(body, octet, writer);
	}
}

static void step_dot(struct body *body, uint8_t octet, struct writer *writer)
{
	if (octet == '\r') {
		body->held = 1;
		body->state = STATE_DOT_CRS;
	} else if (octet == '\n') { /* CR LF . LF is no end: a line of one dot, stuffed */
		body->saw_bare = true;
		emit(writer, "..\r\n", 4);
		body->state = STATE_MADE;
	} else {
		emit(writer, ".", 1);
		body->state = STATE_TEXT;
		step_text(body, octet, writer);
	}
}

/* True: these were CR LF . CR LF (RFC 5321 4.1.1.4). */
static bool step_dot_crs(struct body *body, uint8_t octet, struct writer *writer)
{
	if (octet == '\n' && body->held == 1)
		return true;
	if (octet == '\r') {
		hold_cr(body, writer);
	} else if (octet == '\n') {
		body->saw_bare = true;
		emit(writer, "..\r\n", 4);
		body->state = STATE_LINE;
	} else {
		body->saw_bare = true;
		emit(writer, ".", 1);
		emit_spaces(writer, body->held);
		body->state = STATE_TEXT;
		step_text(body, octet, writer);
	}
	return false;
}

static bool step_any(struct body *body, uint8_t octet, struct writer *writer)
{
	switch ((enum body_state)body->state) {
	case STATE_LINE:
	case STATE_MADE:
	case STATE_TEXT:
		step_text(body, octet, writer);
		return false;
	case STATE_CRS:
		step_crs(body, octet, writer);
		return false;
	case STATE_DOT:
		step_dot(body, octet, writer);
		return false;
	case STATE_DOT_CRS:
		return step_dot_crs(body, octet, writer);
	}
	panic("no such state");
}

static bool step(struct body *body, uint8_t octet, struct writer *writer)
{
	bool ended = step_any(body, octet, writer);

	/* What was held before the first NUL has been written; nothing more is. */
	if (octet == '\0' && !body->saw_nul) {
		body->saw_nul = true;
		writer_flush(writer);
		writer->out = NULL;
	}
	return ended;
}

static bool run_may_begin(const struct body *body, uint8_t octet)
{
	if (body->state == STATE_TEXT)
		return true;
	return (body->state == STATE_LINE || body->state == STATE_MADE) && octet != '.';
}

/* Octets fed that may yet turn out to belong to the end of data. */
static size_t undecided(const struct body *body)
{
	if (body->state == STATE_DOT)
		return 1;
	return body->state == STATE_DOT_CRS && body->held == 1 ? 2 : 0;
}

static bool feed(struct body *body, struct scan *scan, struct writer *writer)
{
	while (scan->at < scan->end) {
		if (run_may_begin(body, *scan->at)) {
			enum body_state state = (enum body_state)body->state;
			const uint8_t *limit = body->saw_nul ? scan->end : scan->nul;
			const uint8_t *stop = run_end(scan, limit, &state);

			emit(writer, scan->at, (size_t)(stop - scan->at));
			scan->at = stop;
			body->state = (uint8_t)state;
			if (stop == scan->end)
				break;
		}
		if (step(body, *scan->at++, writer))
			return true;
	}
	return false;
}

void body_init(struct body *body, enum body_mode mode)
{
	/* The DATA command's CRLF, or the start of the first chunk. */
	*body = (struct body){.mode = (uint8_t)mode, .state = STATE_LINE};
}

static void pass(struct body *body, const void *bytes, size_t len, struct evbuffer *out)
{
	if (out != NULL && !body->failed && evbuffer_add(out, bytes, len) == -1)
		body->failed = true;
	body->bytes_in += len;
}

void body_finish(struct body *body, struct evbuffer *out)
{
	require(body->mode != BODY_DATA);
	if (body->mode == BODY_BINARY || body->state == STATE_LINE || body->state == STATE_MADE)
		return;
	body->saw_bare |= body->state == STATE_CRS;
	body->held = 0;
	body->state = STATE_LINE;
	if (out != NULL && !body->saw_nul && !body->failed && evbuffer_add(out, "\r\n", 2) == -1)
		body->failed = true;
}

enum body_status body_feed(struct body *body, const void *bytes, size_t len, size_t *consumed_out,
	struct evbuffer *out)
{
	struct scan scan = {.at = bytes, .end = (const uint8_t *)bytes + len};
	struct writer writer;
	size_t before = undecided(body);
	bool ended;

	*consumed_out = 0;
	if (len == 0)
		return BODY_MORE;
	if (body->mode == BODY_BINARY) {
		pass(body, bytes, len, out);
		*consumed_out = len;
		return BODY_MORE;
	}
	writer.out = body->saw_nul || body->failed ? NULL : out;
	writer.failed = false;
	writer.staged = 0;
	scan.nul = find(&scan, scan.at, '\0');
	scan.cr = find(&scan, scan.at, '\r');
	scan.lf = find(&scan, scan.at, '\n');
	ended = feed(body, &scan, &writer);
	writer_flush(&writer);
	body->failed |= writer.failed;
	*consumed_out = (size_t)(scan.at - (const uint8_t *)bytes);
	body->bytes_in += before + *consumed_out - (ended ? END_LEN : undecided(body));
	return ended ? BODY_END : BODY_MORE;
}
