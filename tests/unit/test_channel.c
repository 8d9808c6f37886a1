/* SPDX-License-Identifier: ISC */
/*
 * Channels over socketpairs in an event base: frames however they are cut, everything that ends a
 * channel, and that it ends once, from the loop, and alone.
 */
#include "common/channel.h"

#include "common/counters.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

static void on_frame(
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

static void on_close(struct channel *channel, const char *reason, void *arg)
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

static void turn(void)
{
	(void)event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* Enough for all that a test has under way: nothing here waits for the outside. */
static void turns(size_t count)
{
	while (count-- > 0)
		turn();
}

/* ends[i] on one side; what is returned on the other. */
static int open_end(struct end *end)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	memset(end, 0, sizeof *end);
	end->channel = channel_open(base, fds[0], &events, end);
	assert_non_null(end->channel);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	return fds[1];
}

static void open_both(void)
{
	int fd = open_end(&ends[0]);

	memset(&ends[1], 0, sizeof ends[1]);
	ends[1].channel = channel_open(base, fd, &events, &ends[1]);
	assert_non_null(ends[1].channel);
}

static bool send_from(struct end *end, enum ipc_type type, uint64_t id, const void *payload)
{
	end->in_send = true;
	bool sent = channel_send(end->channel, type, id, payload, ipc_size(type));
	end->in_send = false;
	return sent;
}

static int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	return base == NULL ? -1 : 0;
}

static int tear_down(void **state)
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
	struct ipc_outcome outcome;
	struct ipc_hash_result hash;
	struct ipc_control control;
	struct ipc_done done;
	struct ipc_intent intent;
};

/* The smallest payload of each type that is valid. */
static void valid_payload(enum ipc_type type, union payload *out)
{
	memset(out, 0, sizeof *out);
	if (type == IPC_AUTH_REQUEST)
		out->auth.mechanism = IPC_MECHANISM_PLAIN;
	else if (type == IPC_AUTH_VERDICT)
		out->verdict.result = IPC_AUTH_OK;
	else if (type == IPC_MAIL_VERDICT || type == IPC_TAKE_VERDICT)
		out->policy.policy = IPC_POLICY_OK;
	else if (type == IPC_OUTCOME)
		out->outcome.kind = IPC_OUTCOME_ACCEPTED;
	else if (type == IPC_HASH_RESULT)
		out->hash.outcome = IPC_HASH_MATCH;
	else if (type >= IPC_CONTROL_CHANNEL)
		out->control.process = IPC_PROCESS_AUTH;
}

static size_t put_frame(
	uint8_t *out, const struct ipc_header *header, const void *payload, size_t size)
{
	memcpy(out, header, sizeof *header);
	memcpy(out + sizeof *header, payload, size);
	return sizeof *header + size;
}

/* A whole frame of type with its id; returns its length. */
static size_t make_frame(uint8_t *out, enum ipc_type type, uint64_t id)
{
	union payload payload;
	struct ipc_header header = {.size = (uint32_t)ipc_size(type),
		.version = IPC_VERSION,
		.type = (uint8_t)type,
		.id = id};

	valid_payload(type, &payload);
	return put_frame(out, &header, &payload, header.size);
}

static void write_all(int fd, const void *bytes, size_t len)
{
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
}

static void write_frames(int fd, enum ipc_type type, size_t count)
{
	uint8_t frame[2048];

	for (size_t i = 0; i < count; i++)
		write_all(fd, frame, make_frame(frame, type, i + 1));
}

static void assert_ids(const struct end *end, size_t count)
{
	assert_int_equal(end->count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(end->frames[i].id, i + 1);
}

static void test_every_type_arrives(void **state)
{
	size_t sent = 0;

	(void)state;
	open_both();
	for (int type = 1; type < IPC_TYPE_END; type++) {
		union payload payload;
		valid_payload((enum ipc_type)type, &payload);
		assert_true(send_from(&ends[0], (enum ipc_type)type, ++sent, &payload));
	}
	turns(4);
	assert_ids(&ends[1], sent);
	for (size_t i = 0; i < sent; i++)
		assert_int_equal(ends[1].frames[i].type, i + 1);
	assert_int_equal(ends[0].closes + ends[1].closes, 0);
}

static void test_a_payload_arrives_as_it_was(void **state)
{
	struct ipc_intent intent = {.session = UINT64_C(0x0123456789abcdef), .bytes = 5};

	(void)state;
	open_both();
	assert_true(send_from(&ends[0], IPC_INTENT, UINT64_MAX, &intent));
	intent.session = 0; /* it was copied */
	turns(3);
	assert_int_equal(ends[1].count, 1);
	assert_true(ends[1].frames[0].id == UINT64_MAX);
	assert_true(ends[1].frames[0].first == UINT64_C(0x0123456789abcdef));
}

/* All sends of a turn leave together, and none of them before the loop runs. */
static void test_frames_leave_with_the_loop(void **state)
{
	struct ipc_done done = {1};
	uint8_t bytes[4096];
	size_t frame = sizeof(struct ipc_header) + sizeof done;
	int fd = open_end(&ends[0]);

	(void)state;
	for (uint64_t id = 1; id <= 10; id++)
		assert_true(send_from(&ends[0], IPC_INTENT_DONE, id, &done));
	assert_int_equal(read(fd, bytes, sizeof bytes), -1);
	assert_int_equal(errno, EAGAIN);
	turn();
	assert_int_equal(read(fd, bytes, sizeof bytes), (ssize_t)(10 * frame));
	close(fd);
}

/* Three frames, the second empty of all but one octet. */
static size_t three_frames(uint8_t *out)
{
	size_t len = make_frame(out, IPC_MAIL_REQUEST, 1);

	len += make_frame(out + len, IPC_INTENT_DONE, 2);
	return len + make_frame(out + len, IPC_OUTCOME, 3);
}

static void assert_three(const struct end *end, const char *how, size_t at)
{
	if (end->count != 3 || end->closes != 0)
		fail_msg("%s %zu: got %zu frames, %s, want 3", how, at, end->count, end->reason);
	assert_ids(end, 3);
	assert_int_equal(end->frames[1].type, IPC_INTENT_DONE);
}

static void test_split_at_every_byte(void **state)
{
	uint8_t bytes[4096];
	size_t len = three_frames(bytes);

	(void)state;
	for (size_t at = 1; at < len; at++) {
		int fd = open_end(&ends[0]);
		write_all(fd, bytes, at);
		turns(2);
		write_all(fd, bytes + at, len - at);
		turns(2);
		assert_three(&ends[0], "split at", at);
		channel_close(&ends[0].channel);
		close(fd);
	}
}

static void test_byte_by_byte(void **state)
{
	uint8_t bytes[4096];
	size_t len = three_frames(bytes);
	int fd = open_end(&ends[0]);

	(void)state;
	for (size_t at = 0; at < len; at++) {
		write_all(fd, bytes + at, 1);
		turn();
	}
	turn();
	assert_three(&ends[0], "byte by byte", len);
	close(fd);
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

static const char *const damage_names[DAMAGE_COUNT] = {"version 0", "next version", "type 0",
	"type end", "type 255", "size 0", "size less", "size more", "largest size",
	"another type's size", "reserved", "login length", "secret length", "mechanism"};

static void damage(enum damage what, struct ipc_header *h, struct ipc_auth_request *r)
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
static void write_damaged(int fd, enum damage what)
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

static void test_a_bad_frame_ends_its_channel_only(void **state)
{
	(void)state;
	for (int what = 0; what < DAMAGE_COUNT; what++) {
		int fd = open_end(&ends[0]), other = open_end(&ends[1]);
		write_damaged(fd, (enum damage)what);
		write_frames(other, IPC_INTENT, 5);
		turns(5);
		const char *want = what >= DAMAGE_LOGIN_LENGTH ? "bad payload" : "bad frame";
		if (ends[0].count != 1 || ends[0].closes != 1 || strcmp(ends[0].reason, want) != 0)
			fail_msg("%s: got %zu frames, %zu ends, %s, want 1, 1, %s",
				damage_names[what], ends[0].count, ends[0].closes, ends[0].reason,
				want);
		assert_int_equal(ends[1].closes, 0);
		assert_ids(&ends[1], 5);
		channel_close(&ends[0].channel);
		channel_close(&ends[1].channel);
		close(fd);
		close(other);
	}
}

static void test_a_dead_channel_sends_nothing(void **state)
{
	struct ipc_intent intent = {0};
	int fd = open_end(&ends[0]);

	(void)state;
	write_damaged(fd, DAMAGE_VERSION_0);
	turns(2);
	assert_int_equal(ends[0].closes, 1);
	assert_false(send_from(&ends[0], IPC_INTENT, 1, &intent));
	turns(5);
	assert_int_equal(ends[0].closes, 1);
	assert_int_equal(ends[0].count, 1);
	close(fd);
}

/* ---------------------------------------------------------------- the queue */
/* Sends until the channel refuses; how many it took. */
static size_t send_until_refused(struct end *end)
{
	struct ipc_auth_request request = {.mechanism = IPC_MECHANISM_PLAIN};
	size_t sent = 0;

	while (send_from(end, IPC_AUTH_REQUEST, sent + 1, &request))
		sent++;
	return sent;
}

static void test_a_full_queue_ends_the_channel_from_the_loop(void **state)
{
	size_t frame = sizeof(struct ipc_header) + sizeof(struct ipc_auth_request);
	int fd = open_end(&ends[0]);

	(void)state;
	assert_int_equal(send_until_refused(&ends[0]), CHANNEL_QUEUE_MAX / frame);
	assert_int_equal(ends[0].closes, 0);
	assert_int_equal(send_until_refused(&ends[0]), 0);
	turn();
	assert_int_equal(ends[0].closes, 1);
	assert_string_equal(ends[0].reason, "full");
	turns(3);
	assert_int_equal(ends[0].closes, 1);
	close(fd);
}

static size_t drain(int fd, size_t at_most)
{
	uint8_t bytes[65536];
	size_t total = 0;

	while (total < at_most) {
		size_t part = at_most - total < sizeof bytes ? at_most - total : sizeof bytes;
		ssize_t n = read(fd, bytes, part);
		if (n <= 0)
			break;
		total += (size_t)n;
	}
	return total;
}

static void fill_socket(void)
{
	struct ipc_auth_request request = {.mechanism = IPC_MECHANISM_PLAIN};

	for (uint64_t id = 1; id <= 1000; id++)
		assert_true(send_from(&ends[0], IPC_AUTH_REQUEST, id, &request));
	turns(3);
}

static void test_a_peer_that_takes_nothing_is_given_up(void **state)
{
	int fd = open_end(&ends[0]);

	(void)state;
	fill_socket();
	skew_ms += CHANNEL_STALL_MS - 500;
	turns(3);
	assert_int_equal(ends[0].closes, 0);
	skew_ms += 1000;
	turns(3);
	assert_int_equal(ends[0].closes, 1);
	assert_string_equal(ends[0].reason, "stalled");
	close(fd);
}

static void test_more_frames_do_not_delay_the_stall(void **state)
{
	int fd = open_end(&ends[0]);

	(void)state;
	fill_socket();
	for (int i = 0; i < 4; i++) {
		skew_ms += CHANNEL_STALL_MS / 4 + 100;
		fill_socket();
	}
	assert_int_equal(ends[0].closes, 1);
	assert_string_equal(ends[0].reason, "stalled");
	close(fd);
}

static void test_a_slow_peer_is_not_given_up(void **state)
{
	size_t frame = sizeof(struct ipc_header) + sizeof(struct ipc_auth_request);
	size_t taken = 0;
	int fd = open_end(&ends[0]);

	(void)state;
	fill_socket();
	for (int i = 0; i < 5; i++) {
		skew_ms += CHANNEL_STALL_MS - 500;
		taken += drain(fd, 200000);
		turns(3);
		assert_int_equal(ends[0].closes, 0);
	}
	for (int i = 0; i < 100 && taken < 1000 * frame; i++) {
		taken += drain(fd, SIZE_MAX);
		turns(2);
	}
	assert_int_equal(taken, 1000 * frame);
	skew_ms += 10 * CHANNEL_STALL_MS; /* nothing waits: nothing stalls */
	turns(3);
	assert_int_equal(ends[0].closes, 0);
	close(fd);
}

/* ----------------------------------------------------------------- fairness */
static void test_a_turn_hands_on_64_frames(void **state)
{
	int a = open_end(&ends[0]), b = open_end(&ends[1]);

	(void)state;
	write_frames(a, IPC_INTENT_DONE, 200);
	write_frames(b, IPC_INTENT_DONE, 10);
	turn();
	assert_int_equal(ends[0].count, CHANNEL_FRAMES_A_TURN);
	assert_int_equal(ends[1].count, 10);
	/* The rest comes though the socket has nothing new. */
	turns(4);
	assert_ids(&ends[0], 200);
	close(a);
	close(b);
}

/* ------------------------------------------------------------------ the end */
static uint64_t channels_lost(void)
{
	static struct counters page;
	static bool owned;

	if (!owned)
		counters_own(&page);
	owned = true;
	return counter_read(&page, COUNTER_CHANNELS_LOST);
}

static void test_frames_of_a_dead_peer_arrive_before_its_end(void **state)
{
	int fd = open_end(&ends[0]);

	(void)state;
	write_frames(fd, IPC_INTENT_DONE, 200);
	close(fd);
	turns(10);
	assert_ids(&ends[0], 200);
	assert_int_equal(ends[0].closes, 1);
	assert_string_equal(ends[0].reason, "closed");
}

/* The loop may find that a peer is gone by writing to it, before it reads what that peer sent. */
static void test_frames_of_a_dead_peer_survive_a_failed_write(void **state)
{
	struct ipc_intent intent = {0};
	int fd = open_end(&ends[0]);

	(void)state;
	write_frames(fd, IPC_INTENT_DONE, 200);
	close(fd);
	assert_true(send_from(&ends[0], IPC_INTENT, 1, &intent));
	turns(10);
	assert_ids(&ends[0], 200);
	assert_int_equal(ends[0].closes, 1);
	assert_string_equal(ends[0].reason, "closed");
}

/* ... or died with our frames unread, which makes the next write a reset. */
static void test_frames_of_a_killed_peer_survive_a_reset(void **state)
{
	struct ipc_intent intent = {0};
	uint64_t before = channels_lost();
	int fd = open_end(&ends[0]);

	(void)state;
	assert_true(send_from(&ends[0], IPC_INTENT, 1, &intent));
	turns(2);
	write_frames(fd, IPC_INTENT_DONE, 200);
	close(fd);
	assert_true(send_from(&ends[0], IPC_INTENT, 2, &intent));
	turns(10);
	assert_ids(&ends[0], 200);
	assert_int_equal(ends[0].closes, 1);
	assert_string_equal(ends[0].reason, "closed");
	assert_int_equal(channels_lost(), before);
}

/* A peer that reads no more and stays is as good as gone, and does not linger. */
static void test_a_peer_that_only_stops_reading_is_gone(void **state)
{
	struct ipc_intent intent = {0};
	int fd = open_end(&ends[0]);

	(void)state;
	write_frames(fd, IPC_INTENT_DONE, 100);
	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	assert_true(send_from(&ends[0], IPC_INTENT, 1, &intent));
	turns(10);
	assert_ids(&ends[0], 100);
	assert_int_equal(ends[0].closes, 1);
	assert_false(send_from(&ends[0], IPC_INTENT, 2, &intent));
	close(fd);
}

static void test_half_a_frame_is_no_frame(void **state)
{
	uint8_t bytes[2048];
	size_t len = make_frame(bytes, IPC_INTENT, 1);
	int fd = open_end(&ends[0]);

	(void)state;
	write_all(fd, bytes, len - 1);
	close(fd);
	turns(3);
	assert_int_equal(ends[0].count, 0);
	assert_int_equal(ends[0].closes, 1);
	assert_string_equal(ends[0].reason, "closed");
}

static void test_an_end_is_told_once(void **state)
{
	int fd = open_end(&ends[0]);

	(void)state;
	close(fd);
	turns(10);
	assert_int_equal(ends[0].closes, 1);
	skew_ms += 10 * CHANNEL_STALL_MS;
	turns(10);
	assert_int_equal(ends[0].closes, 1);
}

static void test_close_within_on_frame(void **state)
{
	int fd = open_end(&ends[0]);
	char octet;

	(void)state;
	ends[0].close_after = 3;
	write_frames(fd, IPC_INTENT, 10);
	turns(5);
	assert_null(ends[0].channel);
	assert_ids(&ends[0], 3);
	assert_int_equal(ends[0].closes, 0);
	/* Frames that it never read make it a reset. */
	assert_true(read(fd, &octet, 1) <= 0);
	close(fd);
}

static void test_close_within_on_close(void **state)
{
	static const enum damage how[] = {DAMAGE_VERSION_0, DAMAGE_MECHANISM};

	(void)state;
	for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
		int fd = open_end(&ends[0]);
		ends[0].close_in_on_close = true;
		write_damaged(fd, how[i]);
		turns(5);
		assert_null(ends[0].channel);
		assert_int_equal(ends[0].closes, 1);
		close(fd);
	}
	close(open_end(&ends[0])); /* the peer ends */
	ends[0].close_in_on_close = true;
	turns(5);
	assert_null(ends[0].channel);
	close(open_end(&ends[0])); /* a full queue, told from the write event */
	ends[0].close_in_on_close = true;
	(void)send_until_refused(&ends[0]);
	turns(5);
	assert_null(ends[0].channel);
	assert_int_equal(ends[0].closes, 1);
}

static void test_close_tells_only_the_peer(void **state)
{
	(void)state;
	open_both();
	channel_close(&ends[0].channel);
	assert_null(ends[0].channel);
	channel_close(&ends[0].channel); /* NULL is allowed */
	turns(3);
	assert_int_equal(ends[0].closes, 0);
	assert_int_equal(ends[1].closes, 1);
	assert_string_equal(ends[1].reason, "closed");
}

static void test_answers_from_within_on_frame(void **state)
{
	struct ipc_intent intent = {.session = 7};

	(void)state;
	open_both();
	ends[1].echo = 100;
	for (uint64_t id = 1; id <= 100; id++)
		assert_true(send_from(&ends[0], IPC_INTENT, id, &intent));
	turns(10);
	assert_ids(&ends[1], 100);
	assert_ids(&ends[0], 100);
}

static void test_only_errors_count_as_lost(void **state)
{
	uint64_t before = channels_lost();

	(void)state;
	close(open_end(&ends[0]));
	turns(3);
	assert_int_equal(ends[0].closes, 1);
	assert_int_equal(channels_lost(), before);
	channel_close(&ends[0].channel);
	int fd = open_end(&ends[0]);
	write_damaged(fd, DAMAGE_RESERVED);
	turns(3);
	assert_int_equal(channels_lost(), before + 1);
	close(fd);
}

static void test_the_descriptor(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ends[0].channel = channel_open(base, fds[0], &events, &ends[0]);
	assert_non_null(ends[0].channel);
	assert_int_equal(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	channel_close(&ends[0].channel);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	close(fds[1]);
}

/* Half a struct would send what lies behind it. */
static void test_a_wrong_size_aborts(void **state)
{
	struct ipc_intent intent = {0};
	int status, fd = open_end(&ends[0]);

	(void)state;
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		(void)close(STDERR_FILENO);
		(void)channel_send(ends[0].channel, IPC_INTENT, 1, &intent, sizeof intent - 1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_type_arrives),
		TEST(test_a_payload_arrives_as_it_was),
		TEST(test_frames_leave_with_the_loop),
		TEST(test_split_at_every_byte),
		TEST(test_byte_by_byte),
		TEST(test_a_bad_frame_ends_its_channel_only),
		TEST(test_a_dead_channel_sends_nothing),
		TEST(test_a_full_queue_ends_the_channel_from_the_loop),
		TEST(test_a_peer_that_takes_nothing_is_given_up),
		TEST(test_more_frames_do_not_delay_the_stall),
		TEST(test_a_slow_peer_is_not_given_up),
		TEST(test_a_turn_hands_on_64_frames),
		TEST(test_frames_of_a_dead_peer_arrive_before_its_end),
		TEST(test_frames_of_a_dead_peer_survive_a_failed_write),
		TEST(test_frames_of_a_killed_peer_survive_a_reset),
		TEST(test_a_peer_that_only_stops_reading_is_gone),
		TEST(test_half_a_frame_is_no_frame),
		TEST(test_an_end_is_told_once),
		TEST(test_close_within_on_frame),
		TEST(test_close_within_on_close),
		TEST(test_close_tells_only_the_peer),
		TEST(test_answers_from_within_on_frame),
		TEST(test_only_errors_count_as_lost),
		TEST(test_the_descriptor),
		TEST(test_a_wrong_size_aborts),
	};

	(void)signal(SIGPIPE, SIG_IGN); /* as every process does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
