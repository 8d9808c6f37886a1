/* SPDX-License-Identifier: ISC */
/*
 * The stage itself: fed, moved, ended, refused, and its bound of size.  Lines and fields are
 * header_line.c's, decisions about fields header_field.c's.  Proxy process, loop thread.
 */
#include "proxy/header_parts.h"

#include "common/log.h"

#include <stdlib.h>

void header_init(struct header *header, const struct header_policy *policy)
{
	*header = (struct header){.policy = *policy, .state = STATE_LINE, .first = true};
	if (policy->mode == HEADER_REWRITE && policy->sender_len == 0)
		header->policy.mode = HEADER_REJECT; /* there is nothing to put in its place */
}

void header_free(struct header *header)
{
	free(header->text);
	free(header->list);
	header->text = NULL;
	header->list = NULL;
	header->text_len = header->text_room = 0;
}

bool header_strict(const struct header *header)
{
	return header->policy.mode == HEADER_REJECT || header->policy.mode == HEADER_REWRITE;
}

void header_note(struct header *header, enum header_reason reason)
{
	if (header->found.reason == HEADER_FINE)
		header->found.reason = reason;
}

enum header_status header_refuse(struct header *header, enum header_reason reason)
{
	if (header->found.reason != HEADER_FINE) /* something that was rewritten before */
		header->found = (struct header_found){.reason = HEADER_FINE};
	header->found.reason = reason;
	header->state = STATE_OVER;
	header_free(header);
	return HEADER_REFUSED;
}

const struct header_found *header_found(const struct header *header)
{
	return &header->found;
}

void header_write(struct header *header, const void *bytes, size_t len, struct evbuffer *out)
{
	if (len > 0 && !header->failed && evbuffer_add(out, bytes, len) == -1)
		header->failed = true;
}

/* -------------------------------------------------------------------------- the stage */

static enum header_status check_size(struct header *header, size_t len)
{
	if (len <= HEADER_BYTES_MAX - header->bytes) {
		header->bytes += (uint32_t)len;
		return HEADER_MORE;
	}
	header->bytes = HEADER_BYTES_MAX;
	if (header_strict(header))
		return header_refuse(header, HEADER_TOO_LARGE);
	header_note(header, HEADER_TOO_LARGE);
	return HEADER_MORE;
}

/* Before anything of the client's. */
static void start(struct header *header, struct evbuffer *out)
{
	if (header->started)
		return;
	header->started = true;
	header_add_token(header, out);
}

enum header_status header_feed(struct header *header, const void *bytes, size_t len,
	size_t *consumed_out, struct evbuffer *out)
{
	const char *at = bytes, *end = at + len;
	enum header_status status = HEADER_MORE;

	start(header, out);
	while (status == HEADER_MORE && at < end) {
		const char *from = at;

		status = header_step(header, &at, end, out);
		if (status == HEADER_MORE || status == HEADER_BODY) {
			enum header_status size = check_size(header, (size_t)(at - from));

			status = size == HEADER_MORE ? status : size;
		}
	}
	*consumed_out = len - (size_t)(end - at);
	return header->failed && status != HEADER_REFUSED ? header_refuse(header, HEADER_NO_MEMORY)
							  : status;
}

enum header_status header_move(struct header *header, struct evbuffer *in, struct evbuffer *out)
{
	enum header_status status = HEADER_MORE;
	size_t len, consumed;

	while (status == HEADER_MORE) {
		len = evbuffer_get_contiguous_space(in);
		if (len == 0)
			break;
		status = header_feed(
			header, evbuffer_pullup(in, (ev_ssize_t)len), len, &consumed, out);
		if (evbuffer_drain(in, consumed) == -1)
			header->failed = true;
	}
	if (status == HEADER_BODY && evbuffer_add_buffer(out, in) == -1)
		header->failed = true;
	return header->failed && status != HEADER_REFUSED ? header_refuse(header, HEADER_NO_MEMORY)
							  : status;
}

enum header_status header_end(struct header *header, struct evbuffer *out)
{
	enum header_status status;
	size_t consumed;

	require(header->state != STATE_OVER);
	start(header, out);
	if (header->state != STATE_LINE) { /* the last line has no end: give it one */
		bool cr = header->cr || header->state == STATE_EMPTY;

		status = header_feed(header, cr ? "\n" : "\r\n", cr ? 1 : 2, &consumed, out);
		if (status != HEADER_MORE)
			return status;
	}
	status = header_end_field(header, out);
	if (status == HEADER_MORE)
		status = header_finish(header, out);
	return header->failed && status != HEADER_REFUSED ? header_refuse(header, HEADER_NO_MEMORY)
							  : status;
}
