/* SPDX-License-Identifier: ISC */
/*
 * What is said on a backend connection: commands and bodies to the server, and its replies, each
 * credited to the oldest command that is owed one; see backend.h.
 */
#include "proxy/backend_parts.h"

#include "common/counters.h"
#include "common/log.h"

#include <stdio.h>

/* ------------------------------------------------------------------- commands */

static void push(struct backend *backend, enum backend_command command, enum reply_id local)
{
	require(backend->count < BACKEND_PENDING_MAX);
	struct pending *slot =
		&backend->pending[(backend->first + backend->count++) % BACKEND_PENDING_MAX];
	slot->command = (uint8_t)command;
	slot->local = (uint8_t)local;
	if (command != BACKEND_LOCAL)
		backend->owed++;
}

static struct pending pop(struct backend *backend)
{
	require(backend->count > 0);
	struct pending slot = backend->pending[backend->first];
	backend->first = (backend->first + 1) % BACKEND_PENDING_MAX;
	backend->count--;
	if (slot.command != BACKEND_LOCAL)
		backend->owed--;
	return slot;
}

void backend_send(
	struct backend *backend, enum backend_command command, const char *bytes, size_t len)
{
	require(backend->state == STATE_READY);
	if (command == BACKEND_MAIL)
		backend->mails++;
	push(backend, command, REPLY_OK);
	stream_write(backend->stream, bytes, len);
	backend_arm(backend);
}

void backend_queue_local(struct backend *backend, enum reply_id reply)
{
	require(backend->owed > 0);
	push(backend, BACKEND_LOCAL, reply);
}

bool backend_next_lost(
	struct backend *backend, enum backend_command *command_out, enum reply_id *local_out)
{
	if (backend->count == 0)
		return false;
	struct pending slot = pop(backend);
	*command_out = (enum backend_command)slot.command;
	*local_out = (enum reply_id)slot.local;
	return true;
}

size_t backend_owed(const struct backend *backend)
{
	return backend->count;
}

bool backend_room(const struct backend *backend)
{
	/* One slot stays free for DATA. */
	return backend->count < BACKEND_PENDING_MAX - 1 && !stream_full(backend->stream);
}

void backend_pause(struct backend *backend, bool paused)
{
	if (backend->stream == NULL)
		return;
	if (paused)
		stream_pause(backend->stream);
	else
		stream_resume(backend->stream);
}

bool backend_spent(const struct backend *backend)
{
	uint32_t most = backend->capabilities.mail_max;

	return (most != 0 && backend->mails >= most) || !stream_is_quiet(backend->stream);
}

bool backend_was_stale(const struct backend *backend)
{
	return backend->ended && backend->mails > 1 && backend->count == 1 &&
	       backend->pending[backend->first].command == BACKEND_MAIL &&
	       !smtp_reply_begun(&backend->reply);
}

bool backend_pipelining(const struct backend *backend)
{
	return (backend->capabilities.bits & CAPABILITY_PIPELINING) != 0;
}

const struct capability_set *backend_capabilities(const struct backend *backend)
{
	return &backend->capabilities;
}

/* ----------------------------------------------------------------------- body */

void backend_begin_body(struct backend *backend)
{
	backend_set_state(backend, STATE_BODY);
	backend_arm(backend);
}

struct evbuffer *backend_body(struct backend *backend)
{
	return stream_output(backend->stream);
}

void backend_flush_body(struct backend *backend)
{
	stream_flush(backend->stream);
	backend_arm(backend);
}

bool backend_full(const struct backend *backend)
{
	return stream_full(backend->stream);
}

void backend_end_body(struct backend *backend)
{
	backend_set_state(backend, STATE_ENDING);
	push(backend, BACKEND_END, REPLY_OK);
	stream_write(backend->stream, ".\r\n", 3);
	backend_arm(backend);
}

void backend_send_chunk(struct backend *backend, struct evbuffer *octets, size_t len, bool last)
{
	char line[64];
	int line_len = snprintf(line, sizeof line, "BDAT %zu%s\r\n", len, last ? " LAST" : "");

	require(backend->state == STATE_READY && len <= evbuffer_get_length(octets));
	if (last)
		backend_set_state(backend, STATE_ENDING);
	push(backend, last ? BACKEND_END : BACKEND_CHUNK, REPLY_OK);
	if (evbuffer_add(stream_output(backend->stream), line, (size_t)line_len) == -1 ||
		evbuffer_remove_buffer(octets, stream_output(backend->stream), len) != (int)len)
		panic("out of memory for a chunk");
	stream_flush(backend->stream);
	backend_arm(backend);
}

/* -------------------------------------------------------------------- replies */

static void say_hello(struct backend *backend, const char *verb, enum backend_state state)
{
	char line[300];

	int len = snprintf(line, sizeof line, "%s %s\r\n", verb, backend->config->hostname);
	require(len > 0 && (size_t)len < sizeof line);
	backend_set_state(backend, state);
	stream_write(backend->stream, line, (size_t)len);
	backend_arm(backend);
}

static void become_ready(struct backend *backend)
{
	backend_set_state(backend, STATE_READY);
	backend_arm(backend);
	counter_add(COUNTER_BACKEND_CONNECTS, 1);
	backend->events->on_ready(backend->arg);
}

/* RFC 5321 3.1, 3.2: the greeting, then EHLO, and HELO for a server that knows no EHLO. */
static void hello_reply(struct backend *backend)
{
	const struct smtp_reply *reply = &backend->reply;
	unsigned class_ = smtp_reply_class(reply);

	if (backend->state == STATE_GREETING) {
		if (reply->code == 220)
			say_hello(backend, "EHLO", STATE_EHLO);
		else
			backend_die(backend, "greeting refused");
	} else if (backend->state == STATE_EHLO && class_ == 5) {
		say_hello(backend, "HELO", STATE_HELO);
	} else if (reply->code == 250) {
		if (backend->state == STATE_EHLO)
			capability_parse(reply, &backend->capabilities);
		become_ready(backend);
	} else {
		backend_die(
			backend, backend->state == STATE_EHLO ? "EHLO refused" : "HELO refused");
	}
}

/* Gives out what is at the head: one reply of the backend's, then local ones behind it.  Within
 * on_bytes(), which keeps the memory. */
static void credit(struct backend *backend)
{
	struct pending slot = pop(backend);

	if (slot.command == BACKEND_END)
		backend_set_state(backend, STATE_READY);
	backend->events->on_reply(
		(enum backend_command)slot.command, &backend->reply, backend->arg);
	while (!backend->aborted && backend->count > 0 &&
		backend->pending[backend->first].command == BACKEND_LOCAL)
		backend->events->on_local((enum reply_id)pop(backend).local, backend->arg);
	if (!backend->aborted && backend->state != STATE_DEAD)
		backend_arm(backend);
}

/* One whole reply is there. */
static void on_reply(struct backend *backend)
{
	switch (backend->state) {
	case STATE_GREETING:
	case STATE_EHLO:
	case STATE_HELO:
		hello_reply(backend);
		return;
	case STATE_READY:
	case STATE_ENDING:
		if (backend->owed > 0)
			credit(backend);
		else /* 421 before a timeout of its own, or worse */
			backend_die(backend,
				backend->reply.code == 421 ? "closed by it" : "unasked reply");
		return;
	case STATE_BODY:
		backend->events->on_early(&backend->reply, backend->arg);
		return;
	case STATE_CONNECTING:
	case STATE_DEAD:
		return;
	}
}

/* How many replies may be in the octets that are here now.  A command that is sent in answer to one
 * of them was not known when they left: none of them is its reply. */
static size_t due(const struct backend *backend)
{
	switch (backend->state) {
	case STATE_GREETING:
	case STATE_EHLO:
	case STATE_HELO:
		return 1;
	case STATE_READY:
	case STATE_ENDING:
		return backend->owed;
	case STATE_BODY:
	case STATE_CONNECTING:
	case STATE_DEAD:
		return 0;
	}
	panic("no such state");
}

size_t backend_on_bytes(const uint8_t *bytes, size_t len, void *arg)
{
	struct backend *backend = arg;
	struct stream *stream = backend->stream;
	size_t done = 0, left = due(backend), consumed;

	while (done < len) {
		enum smtp_reply_status status =
			smtp_reply_feed(&backend->reply, bytes + done, len - done, &consumed);
		done += consumed;
		if (status == SMTP_REPLY_MORE)
			break;
		if (status == SMTP_REPLY_BAD) {
			backend_die(backend, smtp_reply_why(&backend->reply));
			return len;
		}
		bool surplus = left <= 1 && done < len;
		if (surplus && backend->state < STATE_READY) {
			backend_die(backend, "unasked reply");
			return len;
		}
		left -= left > 0;
		backend_enter(backend);
		on_reply(backend);
		if (!backend_leave(backend))
			return len;
		if (backend->state == STATE_DEAD || backend->stream != stream)
			return len;
		if (surplus) {
			backend_die(backend, "unasked reply");
			return len;
		}
		smtp_reply_reset(&backend->reply);
	}
	return len;
}
