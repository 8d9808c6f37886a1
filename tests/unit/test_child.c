/* SPDX-License-Identifier: ISC */
/*
 * The child's side of the control socket: frames and descriptors, drain, heartbeat, the end of the
 * master, titles.  Both ends of the socket are held here; what needs a process of its own forks.
 */
#include "common/child.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* wants the headers above */

static int saved_argc;
static char **saved_argv;

struct pair {
	int master, child;
};

static struct pair make_pair(void)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	return (struct pair){fds[0], fds[1]};
}

static unsigned count_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) != -1;
	return count;
}

/* ------------------------------------------------------------------- frames */
static void test_frame_carries_a_descriptor(void **state)
{
	const struct ipc_control sent = {.process = IPC_PROCESS_PROXY, .index = 3};
	struct pair pair = make_pair();
	struct ipc_control got;
	enum ipc_type type;
	int pipe_fds[2], fd;
	char byte = 0;

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	assert_true(control_send(pair.master, IPC_CONTROL_CHANNEL, &sent, pipe_fds[1]));
	assert_int_equal(control_receive(pair.child, &type, &got, &fd), 1);
	assert_int_equal(type, IPC_CONTROL_CHANNEL);
	assert_int_equal(got.process, IPC_PROCESS_PROXY);
	assert_int_equal(got.index, 3);
	assert_int_not_equal(fd, -1);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	close(fd);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(pair.master);
	close(pair.child);
}

static void test_frame_without_descriptor_gives_minus_one(void **state)
{
	const struct ipc_control sent = {.process = IPC_PROCESS_AUTH};
	struct pair pair = make_pair();
	struct ipc_control got;
	enum ipc_type type;
	int fd = 99;

	(void)state;
	assert_int_equal(control_receive(pair.child, &type, &got, &fd), 0);
	assert_int_equal(fd, -1);
	assert_true(control_send(pair.master, IPC_CONTROL_COUNTERS, &sent, -1));
	assert_int_equal(control_receive(pair.child, &type, &got, &fd), 1);
	assert_int_equal(fd, -1);
	close(pair.master);
	assert_int_equal(control_receive(pair.child, &type, &got, &fd), -1);
	assert_false(control_send(pair.child, IPC_CONTROL_READY, &sent, -1));
	assert_int_equal(errno, EPIPE);
	close(pair.child);
}

struct frame {
	struct ipc_header header;
	struct ipc_control payload;
	uint8_t excess;
};

static void send_raw(int socket, const void *bytes, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} space = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	struct msghdr message = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = space.bytes,
		.msg_controllen = sizeof space.bytes};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	assert_int_equal(sendmsg(socket, &message, 0), (ssize_t)len);
}

static void test_bad_frames_are_refused_and_leak_no_descriptor(void **state)
{
	const struct {
		const char *name;
		uint8_t version, type, process;
		uint32_t size;
		size_t len;
	} cases[] = {
		{"short", IPC_VERSION, IPC_CONTROL_CHANNEL, IPC_PROCESS_AUTH,
			sizeof(struct ipc_control), 5},
		{"long", IPC_VERSION, IPC_CONTROL_CHANNEL, IPC_PROCESS_AUTH,
			sizeof(struct ipc_control),
			sizeof(struct ipc_header) + sizeof(struct ipc_control) + 1},
		{"version", IPC_VERSION + 1, IPC_CONTROL_CHANNEL, IPC_PROCESS_AUTH,
			sizeof(struct ipc_control),
			sizeof(struct ipc_header) + sizeof(struct ipc_control)},
		{"not control", IPC_VERSION, IPC_AUTH_VERDICT, IPC_PROCESS_AUTH,
			sizeof(struct ipc_control),
			sizeof(struct ipc_header) + sizeof(struct ipc_control)},
		{"no such type", IPC_VERSION, 255, IPC_PROCESS_AUTH, sizeof(struct ipc_control),
			sizeof(struct ipc_header) + sizeof(struct ipc_control)},
		{"no such process", IPC_VERSION, IPC_CONTROL_CHANNEL, 99,
			sizeof(struct ipc_control),
			sizeof(struct ipc_header) + sizeof(struct ipc_control)},
		{"size", IPC_VERSION, IPC_CONTROL_CHANNEL, IPC_PROCESS_AUTH, 1,
			sizeof(struct ipc_header) + sizeof(struct ipc_control)},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pair pair = make_pair();
		struct frame frame = {
			.header = {.size = cases[i].size,
				.version = cases[i].version,
				.type = cases[i].type},
			.payload = {.process = cases[i].process},
		};
		struct ipc_control got;
		enum ipc_type type;
		int fd;

		unsigned before = count_descriptors();
		send_raw(pair.master, &frame, cases[i].len, pair.master);
		int status = control_receive(pair.child, &type, &got, &fd);
		if (status != -1 || fd != -1 || count_descriptors() != before)
			fail_msg("%s: got status %d, fd %d, %u descriptors, want -1, -1, %u",
				cases[i].name, status, fd, count_descriptors(), before);
		close(pair.master);
		close(pair.child);
	}
}

static void test_names(void **state)
{
	char text[32];

	(void)state;
	assert_string_equal(child_name(IPC_PROCESS_MASTER, 0, text), "master");
	assert_string_equal(child_name(IPC_PROCESS_AUTH, 0, text), "auth");
	assert_string_equal(child_name(IPC_PROCESS_HASH, 2, text), "hash2");
	assert_string_equal(child_name(IPC_PROCESS_PROXY, 63, text), "proxy63");
	assert_string_equal(child_name(IPC_PROCESS_PROBE, 0, text), "probe");
	assert_string_equal(child_name(IPC_PROCESS_ADMIN, 0, text), "admin");
}

/* ------------------------------------------------------------------- events */
struct fixture {
	struct pair pair;
	struct event_base *base;
	struct event *deadline;
	struct child_start start;
	struct child *child;
	bool exit_on_drain;
	unsigned channels, counters, gone, drains, ticks;
	unsigned last_index;
	enum ipc_process last_peer;
	bool timed_out;
};

static void on_channel(enum ipc_process peer, unsigned index, int fd, void *arg)
{
	struct fixture *f = arg;

	f->channels++;
	f->last_peer = peer;
	f->last_index = index;
	close(fd);
	event_base_loopbreak(f->base);
}

static void on_counters(enum ipc_process peer, unsigned index, int fd, void *arg)
{
	struct fixture *f = arg;

	f->last_peer = peer;
	f->last_index = index;
	if (fd == -1)
		f->gone++;
	else
		f->counters++;
	if (fd != -1)
		close(fd);
	event_base_loopbreak(f->base);
}

static void on_drain(void *arg)
{
	struct fixture *f = arg;

	f->drains++;
	if (f->exit_on_drain)
		event_base_loopbreak(f->base);
}

static void on_tick(uint64_t now_ms, void *arg)
{
	struct fixture *f = arg;

	assert_true(now_ms > 0);
	f->ticks++;
	event_base_loopbreak(f->base);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct fixture *f = arg;

	(void)fd;
	(void)what;
	f->timed_out = true;
	event_base_loopbreak(f->base);
}

static const struct child_events fixture_events = {
	.on_channel = on_channel,
	.on_counters = on_counters,
	.on_drain = on_drain,
	.on_tick = on_tick,
};

static void attach(struct fixture *f)
{
	static const struct timeval limit = {20, 0};

	memset(f, 0, sizeof *f);
	f->exit_on_drain = true;
	f->pair = make_pair();
	f->base = event_base_new();
	assert_non_null(f->base);
	f->start.process = IPC_PROCESS_PROXY;
	f->start.index = 7;
	f->start.control = f->pair.child;
	assert_int_not_equal(counters_create(&f->start.page), -1);
	f->child = child_attach(f->base, &f->start, &fixture_events, f);
	assert_non_null(f->child);
	f->deadline = evtimer_new(f->base, on_deadline, f);
	evtimer_add(f->deadline, &limit);
}

/* Until a callback breaks the loop. */
static void run(struct fixture *f)
{
	event_base_dispatch(f->base);
	assert_false(f->timed_out);
}

static void detach(struct fixture *f)
{
	child_detach(&f->child);
	assert_null(f->child);
	event_free(f->deadline);
	event_base_free(f->base);
	close(f->pair.child);
	close(f->pair.master);
}

static void test_ready_reaches_the_master(void **state)
{
	struct ipc_control got;
	struct fixture f;
	enum ipc_type type;
	int fd;

	(void)state;
	attach(&f);
	assert_int_equal(control_receive(f.pair.master, &type, &got, &fd), 0);
	child_ready(f.child);
	assert_int_equal(control_receive(f.pair.master, &type, &got, &fd), 1);
	assert_int_equal(type, IPC_CONTROL_READY);
	assert_int_equal(got.process, IPC_PROCESS_PROXY);
	assert_int_equal(got.index, 7);
	detach(&f);
}

static void test_channels_and_counters_come_down(void **state)
{
	const struct ipc_control auth = {.process = IPC_PROCESS_AUTH, .index = 0};
	const struct ipc_control hash = {.process = IPC_PROCESS_HASH, .index = 5};
	struct fixture f;

	(void)state;
	attach(&f);
	assert_true(control_send(f.pair.master, IPC_CONTROL_CHANNEL, &auth, STDERR_FILENO));
	run(&f);
	assert_int_equal(f.channels, 1);
	assert_int_equal(f.last_peer, IPC_PROCESS_AUTH);
	assert_true(control_send(f.pair.master, IPC_CONTROL_COUNTERS, &hash, STDERR_FILENO));
	run(&f);
	assert_int_equal(f.counters, 1);
	assert_int_equal(f.last_peer, IPC_PROCESS_HASH);
	assert_int_equal(f.last_index, 5);
	assert_true(control_send(f.pair.master, IPC_CONTROL_COUNTERS, &hash, -1));
	run(&f);
	assert_int_equal(f.gone, 1);
	detach(&f);
}

static void test_drain_by_frame_and_by_signal_is_told_once(void **state)
{
	const struct ipc_control any = {.process = IPC_PROCESS_MASTER};
	struct fixture f;

	(void)state;
	attach(&f);
	assert_true(control_send(f.pair.master, IPC_CONTROL_DRAIN, &any, -1));
	run(&f);
	assert_int_equal(f.drains, 1);
	assert_true(control_send(f.pair.master, IPC_CONTROL_DRAIN, &any, -1));
	assert_true(control_send(f.pair.master, IPC_CONTROL_COUNTERS, &any, -1));
	run(&f);
	assert_int_equal(f.drains, 1);
	detach(&f);

	attach(&f);
	assert_int_equal(raise(SIGTERM), 0);
	run(&f);
	assert_int_equal(f.drains, 1);
	detach(&f);
}

static void test_second_sigterm_ends_the_loop_at_once(void **state)
{
	struct fixture f;

	(void)state;
	attach(&f);
	f.exit_on_drain = false;
	assert_int_equal(raise(SIGTERM), 0);
	while (f.drains == 0 && !f.timed_out)
		event_base_loop(f.base, EVLOOP_ONCE);
	assert_false(event_base_got_break(f.base));
	assert_int_equal(raise(SIGTERM), 0);
	run(&f);
	assert_int_equal(f.drains, 1);
	assert_int_equal(f.ticks, 0);
	detach(&f);
}

static void test_terminal_signals_are_ignored(void **state)
{
	struct fixture f;

	(void)state;
	attach(&f);
	assert_int_equal(raise(SIGINT), 0);
	assert_int_equal(raise(SIGHUP), 0);
	assert_int_equal(raise(SIGPIPE), 0);
	event_base_loop(f.base, EVLOOP_NONBLOCK);
	assert_int_equal(f.drains, 0);
	detach(&f);
}

static void test_end_of_the_master_ends_the_loop(void **state)
{
	struct fixture f;

	(void)state;
	attach(&f);
	close(f.pair.master);
	f.pair.master = -1;
	run(&f);
	assert_int_equal(f.drains, 0);
	assert_int_equal(f.ticks, 0);
	detach(&f);
}

static void test_heartbeat_beats_each_second(void **state)
{
	struct fixture f;

	(void)state;
	attach(&f);
	uint64_t first = f.start.page->heartbeat_ms, started = clock_monotonic_ms();
	assert_true(first > 0);
	run(&f);
	uint64_t elapsed = clock_monotonic_ms() - started;
	assert_int_equal(f.ticks, 1);
	assert_true(f.start.page->heartbeat_ms > first);
	assert_true(elapsed >= 900);
	detach(&f);
}

/* -------------------------------------------------------------------- title */
static size_t read_file(const char *path, char *bytes, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd == -1 ? 0 : read(fd, bytes, size - 1);

	if (fd != -1)
		close(fd);
	bytes[n < 0 ? 0 : n] = '\0';
	return n < 0 ? 0 : (size_t)n;
}

/* valgrind gives the program an argv of its own, which is not the one that ps reads. */
static bool own_argv(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload == NULL || strstr(preload, "vgpreload") == NULL;
}

/* In a process of its own: the title is for good. */
static int title_in_child(void)
{
	char bytes[16384], comm[32] = "";

	child_title_init(saved_argc, saved_argv);
	child_title_set("postern: proxy 12");
	read_file("/proc/self/cmdline", bytes, sizeof bytes);
	if (own_argv() && strcmp(bytes, "postern: proxy 12") != 0)
		return 1;
	prctl(PR_GET_NAME, comm);
	if (strcmp(comm, "postern: proxy ") != 0) /* the kernel keeps 15 octets */
		return 2;
	if (getenv("POSTERN_TITLE_TEST") == NULL ||
		strcmp(getenv("POSTERN_TITLE_TEST"), "kept") != 0)
		return 3;
	size_t len = read_file("/proc/self/environ", bytes, sizeof bytes);
	if (own_argv() && memmem(bytes, len, "PATH=", 5) != NULL)
		return 4;
	child_title_set("postern: auth");
	read_file("/proc/self/cmdline", bytes, sizeof bytes);
	return !own_argv() || strcmp(bytes, "postern: auth") == 0 ? 0 : 5;
}

static void test_title_is_what_ps_shows_and_hides_the_environment(void **state)
{
	int status;

	(void)state;
	assert_int_equal(setenv("POSTERN_TITLE_TEST", "kept", 1), 0);
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0)
		_exit(title_in_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_carries_a_descriptor),
		cmocka_unit_test(test_frame_without_descriptor_gives_minus_one),
		cmocka_unit_test(test_bad_frames_are_refused_and_leak_no_descriptor),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_ready_reaches_the_master),
		cmocka_unit_test(test_channels_and_counters_come_down),
		cmocka_unit_test(test_drain_by_frame_and_by_signal_is_told_once),
		cmocka_unit_test(test_second_sigterm_ends_the_loop_at_once),
		cmocka_unit_test(test_terminal_signals_are_ignored),
		cmocka_unit_test(test_end_of_the_master_ends_the_loop),
		cmocka_unit_test(test_heartbeat_beats_each_second),
		cmocka_unit_test(test_title_is_what_ps_shows_and_hides_the_environment),
	};

	saved_argc = argc;
	saved_argv = argv;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
