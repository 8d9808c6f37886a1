/* SPDX-License-Identifier: ISC */
/*
 * For the tests of channels: up to two ends in an event base that note what they are told, frames
 * good and bad, and libevent's clock, which is moved by hand.
 */
#ifndef TESTS_UNIT_CHANNEL_FIXTURE_H
#define TESTS_UNIT_CHANNEL_FIXTURE_H

#include "common/channel.h"
#include "common/counters.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* The clock of libevent too: five seconds pass in no time. */
static int64_t skew_ms;

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (syscall(SYS_clock_gettime, clock, now) == -1)
		return -1;
	int64_t ns = now->tv_nsec + skew_ms % 1000 * 1000000;
	now->tv_sec += skew_ms / 1000 + ns / 1000000000;
	now->tv_nsec = ns % 1000000000;
	return 0;
}

/* ------------------------------------------------------------------ fixture */
enum { SEEN_MAX = 20000 };

struct seen {
	enum ipc_type type;
	uint64_t id;
	uint64_t first; /* of the payload's octets */
};

struct end { /* one channel, and what it was told */
	struct channel *channel;
	struct seen frames[SEEN_MAX];
	size_t count, closes;
	char reason[64];
	bool in_send;       /* a callback now would be one from within a send */
	size_t close_after; /* close within the on_frame call of this number */
	bool close_in_on_close;
	size_t echo; /* answer so many frames from within on_frame */
};

static struct event_base *base;
static struct end ends[2];

static inline void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	struct end *end = arg;

	assert_false(end->in_send);
	assert_int_equal(end->closes, 0);
	assert_ptr_equal(channel, end->channel);
	assert_true(end->count < SEEN_MAX);
	assert_int_equal((uintptr_t)payload % _Alignof(max_align_t), 0);
	struct seen *seen = &end->frames[end->count++];
	*seen = (struct seen){.type = type, .id = id};
	size_t size = ipc_size(type);
	memcpy(&seen->first, payload, size < sizeof seen->first ? size : sizeof seen->first);
	if (end->echo > 0) {
		end->echo--;
		assert_true(channel_send(channel, type, id, payload, size));
	}
	if (end->close_after != 0 && end->count == end->close_after)
		channel_close(&end->channel);
}

static inline void on_close(struct channel *channel, const char *reason, void *arg)
{
	struct end *end = arg;

	assert_false(end->in_send);
	assert_ptr_equal(channel, end->channel);
	end->closes++;
	snprintf(end->reason, sizeof end->reason, "%s", reason);
	if (end->close_in_on_close)
		channel_close(&end->channel);
}

static const struct channel_events events = {on_frame, on_close};

static inline void turn(void)
{
	(void)event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* Enough for all that a test has under way: nothing here waits for the outside. */
static inline void turns(size_t count)
{
	while (count-- > 0)
		turn();
}

/* ends[i] on one side; what is returned on the other. */
static inline int open_end(struct end *end)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	memset(end, 0, sizeof *end);
	end->channel = channel_open(base, fds[0], &events, end);
	assert_non_null(end->channel);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	return fds[1];
}

static inline void open_both(void)
{
	int fd = open_end(&ends[0]);

	memset(&ends[1], 0, sizeof ends[1]);
	ends[1].channel = channel_open(base, fd, &events, &ends[1]);
	assert_non_null(ends[1].channel);
}

static inline bool send_from(struct end *end, enum ipc_type type, uint64_t id, const void *payload)
{
	end->in_send = true;
	bool sent = channel_send(end->channel, type, id, payload, ipc_size(type));
	end->in_send = false;
	return sent;
}

static inline int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	return base == NULL ? -1 : 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	channel_close(&ends[0].channel);
	channel_close(&ends[1].channel);
	event_base_free(base);
	skew_ms = 0;
	return 0;
}

/* ------------------------------------------------------------------- frames */
union payload {
	uint8_t bytes[2048];
	struct ipc_auth_request auth;
	struct ipc_auth_verdict verdict;
	struct ipc_policy_verdict policy;
	struct ipc_owner_verdict owned;
	struct ipc_outcome outcome;
	struct ipc_hash_request to_hash;
	struct ipc_hash_result hash;
	struct ipc_control control;
	struct ipc_done done;
	struct ipc_block block;
	struct ipc_recipients recipients;
	struct ipc_intent intent;
};

/* The smallest payload of each type that is valid. */
static inline void valid_payload(enum ipc_type type, union payload *out)
{
	memset(out, 0, sizeof *out);
	if (type == IPC_AUTH_REQUEST)
		out->auth.mechanism = IPC_MECHANISM_PLAIN;
	else if (type == IPC_AUTH_VERDICT)
		out->verdict.result = IPC_AUTH_OK;
	else if (type == IPC_MAIL_VERDICT || type == IPC_TAKE_VERDICT)
		out->policy.policy = IPC_POLICY_OK;
	else if (type == IPC_OWNER_VERDICT)
		out->owned.policy = IPC_POLICY_OK;
	else if (type == IPC_OUTCOME)
		out->outcome.kind = IPC_OUTCOME_ACCEPTED;
	else if (type == IPC_RECIPIENTS)
		out->recipients.count = 1;
	else if (type == IPC_BLOCK)
		out->block.step = IPC_BLOCK_BEGIN;
	else if (type == IPC_HASH_REQUEST)
		out->to_hash.phc_len = 1;
	else if (type == IPC_HASH_RESULT)
		out->hash.outcome = IPC_HASH_MATCH;
	else if (type >= IPC_CONTROL_CHANNEL)
		out->control.process = IPC_PROCESS_AUTH;
}

static inline size_t put_frame(
	uint8_t *out, const struct ipc_header *header, const void *payload, size_t size)
{
	memcpy(out, header, sizeof *header);
	memcpy(out + sizeof *header, payload, size);
	return sizeof *header + size;
}

/* A whole frame of type with its id; returns its length. */
static inline size_t make_frame(uint8_t *out, enum ipc_type type, uint64_t id)
{
	union payload payload;
	struct ipc_header header = {.size = (uint32_t)ipc_size(type),
		.version = IPC_VERSION,
		.type = (uint8_t)type,
		.id = id};

	valid_payload(type, &payload);
	return put_frame(out, &header, &payload, header.size);
}

static inline void write_all(int fd, const void *bytes, size_t len)
{
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
}

static inline void write_frames(int fd, enum ipc_type type, size_t count)
{
	uint8_t frame[2048];

	for (size_t i = 0; i < count; i++)
		write_all(fd, frame, make_frame(frame, type, i + 1));
}

static inline void assert_ids(const struct end *end, size_t count)
{
	assert_int_equal(end->count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(end->frames[i].id, i + 1);
}

/* --------------------------------------------------------------- bad frames */
enum damage {
	DAMAGE_VERSION_0,
	DAMAGE_VERSION_NEXT,
	DAMAGE_TYPE_0,
	DAMAGE_TYPE_END,
	DAMAGE_TYPE_255,
	DAMAGE_SIZE_0,
	DAMAGE_SIZE_LESS,
	DAMAGE_SIZE_MORE,
	DAMAGE_SIZE_MAX,
	DAMAGE_SIZE_OF_ANOTHER,
	DAMAGE_RESERVED,
	DAMAGE_LOGIN_LENGTH,
	DAMAGE_SECRET_LENGTH,
	DAMAGE_MECHANISM,
	DAMAGE_COUNT,
};

static inline void damage(enum damage what, struct ipc_header *h, struct ipc_auth_request *r)
{
	switch (what) {
	case DAMAGE_VERSION_0:
		h->version = 0;
		break;
	case DAMAGE_VERSION_NEXT:
		h->version = IPC_VERSION + 1;
		break;
	case DAMAGE_TYPE_0:
		h->type = 0;
		break;
	case DAMAGE_TYPE_END:
		h->type = IPC_TYPE_END;
		break;
	case DAMAGE_TYPE_255:
		h->type = 255;
		break;
	case DAMAGE_SIZE_0:
		h->size = 0;
		break;
	case DAMAGE_SIZE_LESS:
		h->size--;
		break;
	case DAMAGE_SIZE_MORE:
		h->size++;
		break;
	case DAMAGE_SIZE_MAX:
		h->size = UINT32_MAX;
		break;
	case DAMAGE_SIZE_OF_ANOTHER:
		h->size = (uint32_t)ipc_size(IPC_OUTCOME);
		break;
	case DAMAGE_RESERVED:
		h->reserved = 1;
		break;
	case DAMAGE_LOGIN_LENGTH:
		r->login_len = IPC_LOGIN_MAX + 1;
		break;
	case DAMAGE_SECRET_LENGTH:
		r->secret_len = UINT16_MAX;
		break;
	case DAMAGE_MECHANISM:
		r->mechanism = 0;
		break;
	case DAMAGE_COUNT:
		fail();
	}
}

/* A good frame, the damaged one, a good one: only the first arrives. */
static inline void write_damaged(int fd, enum damage what)
{
	uint8_t bytes[4096];
	struct ipc_auth_request request = {.mechanism = IPC_MECHANISM_LOGIN};
	struct ipc_header header = {
		.size = sizeof request, .version = IPC_VERSION, .type = IPC_AUTH_REQUEST, .id = 2};
	size_t len = make_frame(bytes, IPC_INTENT, 1);

	damage(what, &header, &request);
	len += put_frame(bytes + len, &header, &request, sizeof request);
	len += make_frame(bytes + len, IPC_INTENT, 3);
	write_all(fd, bytes, len);
}

/* Sends until the channel refuses; how many it took. */
static inline size_t send_until_refused(struct end *end)
{
	struct ipc_auth_request request = {.mechanism = IPC_MECHANISM_PLAIN};
	size_t sent = 0;

	while (send_from(end, IPC_AUTH_REQUEST, sent + 1, &request))
		sent++;
	return sent;
}

static inline uint64_t channels_lost(void)
{
	static struct counters page;
	static bool owned;

	if (!owned)
		counters_own(&page);
	owned = true;
	return counter_read(&page, COUNTER_CHANNELS_LOST);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
