/* SPDX-License-Identifier: ISC */
/* Channels: frames however they are cut, and bad ones, which end their own channel only. */
#include "tests/unit/channel_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

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
static const char *const damage_names[DAMAGE_COUNT] = {"version 0", "next version", "type 0",
	"type end", "type 255", "size 0", "size less", "size more", "largest size",
	"another type's size", "reserved", "login length", "secret length", "mechanism"};

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

/* -------------------------------------------------------------------- use */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_type_arrives),
		TEST(test_a_payload_arrives_as_it_was),
		TEST(test_frames_leave_with_the_loop),
		TEST(test_split_at_every_byte),
		TEST(test_byte_by_byte),
		TEST(test_a_bad_frame_ends_its_channel_only),
		TEST(test_a_turn_hands_on_64_frames),
		TEST(test_answers_from_within_on_frame),
		TEST(test_the_descriptor),
		TEST(test_a_wrong_size_aborts),
	};

	(void)signal(SIGPIPE, SIG_IGN); /* as every process does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
