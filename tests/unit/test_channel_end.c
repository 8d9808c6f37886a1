/* SPDX-License-Identifier: ISC */
/* What ends a channel, and that it is told once, from the loop, and after all that had arrived. */
#include "tests/unit/channel_fixture.h"

#include <signal.h>

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

/* ------------------------------------------------------------------ the end */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_dead_channel_sends_nothing),
		TEST(test_a_full_queue_ends_the_channel_from_the_loop),
		TEST(test_a_peer_that_takes_nothing_is_given_up),
		TEST(test_more_frames_do_not_delay_the_stall),
		TEST(test_a_slow_peer_is_not_given_up),
		TEST(test_frames_of_a_dead_peer_arrive_before_its_end),
		TEST(test_frames_of_a_dead_peer_survive_a_failed_write),
		TEST(test_frames_of_a_killed_peer_survive_a_reset),
		TEST(test_a_peer_that_only_stops_reading_is_gone),
		TEST(test_half_a_frame_is_no_frame),
		TEST(test_an_end_is_told_once),
		TEST(test_close_within_on_frame),
		TEST(test_close_within_on_close),
		TEST(test_close_tells_only_the_peer),
		TEST(test_only_errors_count_as_lost),
	};

	(void)signal(SIGPIPE, SIG_IGN); /* as every process does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
