/* SPDX-License-Identifier: ISC */
/*
 * What a child can no longer do after child_confine(): each case is tried in a process of its own,
 * and its fate is told by the wait status.  As root the whole confinement is seen from outside by
 * /proc; the unprivileged mode is tried from a user without rights in both cases.
 */
#include "common/child.h"
#include "common/child_filter.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* wants the headers above */

enum { TEST_UID = 61234, TEST_GID = 61235 };

static char empty_directory[] = "/tmp/postern-confine-XXXXXX";

/* ------------------------------------------------------------------- filter */
/* Each returns 0, or the errno of the call. */
static int result(long value)
{
	return value == -1 ? errno : 0;
}

static int try_execve(void)
{
	char *const argv[] = {NULL};

	return result(execve("/bin/true", argv, argv));
}

static int try_fork(void)
{
	return result(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int try_thread(void)
{
	return result(syscall(SYS_clone, 0, 0, 0, 0, 0));
}

static int try_ptrace(void)
{
	return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_executable_mapping(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int try_mprotect_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 254;
	return result(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int try_mprotect_read_only(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 254;
	return result(mprotect(p, 4096, PROT_READ));
}

static int try_open(void)
{
	return result(open("/etc/passwd", O_RDONLY));
}

static int try_create(void)
{
	return result(open("/tmp/postern-must-not-exist", O_CREAT | O_WRONLY, 0600));
}

static int try_stat(void)
{
	struct stat st;

	return result(stat("/etc/passwd", &st));
}

static int try_access(void)
{
	return result(access("/etc/passwd", R_OK));
}

static int try_unlink(void)
{
	return result(unlink("/tmp/postern-must-not-exist"));
}

static int try_kill_parent(void)
{
	return result(kill(getppid(), 0));
}

static int try_tgkill_parent(void)
{
	return result(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int try_abort(void)
{
	abort();
}

static int try_set_limit(void)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

	return result(setrlimit(RLIMIT_CORE, &unlimited));
}

static int try_get_limit(void)
{
	struct rlimit limit;

	return result(getrlimit(RLIMIT_NOFILE, &limit));
}

static int try_become_dumpable(void)
{
	return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int try_owner_of_descriptor(void)
{
	return result(fcntl(STDERR_FILENO, F_SETOWN, getpid()));
}

static int try_descriptor_flags(void)
{
	return result(fcntl(STDERR_FILENO, F_SETFD, FD_CLOEXEC));
}

static int try_tcp_socket(void)
{
	return result(socket(AF_INET6, SOCK_STREAM, 0));
}

static int try_packet_socket(void)
{
	return result(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_netlink_socket(void)
{
	return result(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int try_listen(void)
{
	return result(listen(STDIN_FILENO, 1));
}

static int try_terminal_injection(void)
{
	return result(ioctl(STDIN_FILENO, 0x5412 /* TIOCSTI */, "x"));
}

static int try_setuid(void)
{
	return result(setuid(0));
}

/* A loop, its signals and timers, and the control socket: made after the confinement. */
static void on_nothing(void *arg)
{
	(void)arg;
}

static int try_event_loop(void)
{
	const struct child_events events = {.on_drain = on_nothing};
	struct child_start start = {.process = IPC_PROCESS_HASH};
	int fds[2];
	struct event_base *base = event_base_new();

	/* A pipe stands for the control socket: making sockets is the master's. */
	if (base == NULL || pipe(fds) == -1)
		return 254;
	start.control = fds[0];
	struct child *child = child_attach(base, &start, &events, NULL);
	if (child == NULL)
		return 253;
	raise(SIGTERM);
	raise(SIGTERM);
	event_base_dispatch(base);
	child_detach(&child);
	event_base_free(base);
	return 0;
}

static int try_hash(void)
{
	static const uint8_t salt[crypto_pwhash_SALTBYTES] = "salt";
	uint8_t tag[32];

	return crypto_pwhash(tag, sizeof tag, "secret", 6, salt, 2, 64u << 20,
		       crypto_pwhash_ALG_ARGON2ID13) == 0
		       ? 0
		       : 254;
}

static int try_random_and_memory(void)
{
	uint8_t bytes[64];

	randombytes_buf(bytes, sizeof bytes);
	char *large = malloc(32u << 20);
	if (large == NULL)
		return 254;
	memset(large, bytes[0], 32u << 20);
	large = realloc(large, 64u << 20);
	if (large == NULL)
		return 253;
	free(large);
	/* As the slab of secrets does at the end. */
	void *locked = sodium_malloc(4096);
	sodium_free(locked);
	return locked == NULL ? 252 : 0;
}

static void *open_in_thread(void *arg)
{
	*(int *)arg = try_open();
	return NULL;
}

/* It has the filter of the process. */
static int try_libc_thread(void)
{
	pthread_t thread;
	int opened = 0;

	if (pthread_create(&thread, NULL, open_in_thread, &opened) != 0 ||
		pthread_join(thread, NULL) != 0)
		return 254;
	return opened == EACCES ? 0 : 253;
}

static void *fork_in_thread(void *arg)
{
	*(int *)arg = try_fork();
	return NULL;
}

static int try_fork_in_thread(void)
{
	pthread_t thread;
	int forked = 0;

	if (pthread_create(&thread, NULL, fork_in_thread, &forked) != 0 ||
		pthread_join(thread, NULL) != 0)
		return 254;
	return forked;
}

static int try_namespace(void)
{
	return result(syscall(SYS_clone,
		CLONE_VM | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWUSER, 0, 0, 0, 0));
}

/* What a test leaves open for the confined process. */
static int place_fd = -1;

static int try_place(void)
{
	char back[2] = "";

	if (pwrite(place_fd, "ab", 2, 1) != 2 || ftruncate(place_fd, 2) == -1 ||
		fdatasync(place_fd) == -1 || pread(place_fd, back, 2, 0) != 2)
		return 254;
	return back[1] == 'a' ? 0 : 253;
}

enum { KILLED = -SIGSYS, ABORTED = -SIGABRT };

struct filter_case {
	const char *name;
	int (*attempt)(void);
	int compute, network, spool; /* errno, or minus the signal that ends it */
};

static const struct filter_case filter_cases[] = {
	{"execve", try_execve, KILLED, KILLED, KILLED},
	{"fork", try_fork, KILLED, KILLED, KILLED},
	{"a thread", try_thread, KILLED, KILLED, KILLED},
	{"ptrace", try_ptrace, KILLED, KILLED, KILLED},
	{"an executable mapping", try_executable_mapping, KILLED, KILLED, KILLED},
	{"mprotect to executable", try_mprotect_executable, KILLED, KILLED, KILLED},
	{"mprotect to read-only", try_mprotect_read_only, 0, 0, 0},
	{"open", try_open, EACCES, EACCES, EACCES},
	{"create", try_create, EACCES, EACCES, EACCES},
	{"stat", try_stat, ENOENT, ENOENT, ENOENT},
	{"access", try_access, ENOENT, ENOENT, ENOENT},
	{"unlink", try_unlink, KILLED, KILLED, KILLED},
	{"kill its parent", try_kill_parent, KILLED, KILLED, KILLED},
	{"tgkill its parent", try_tgkill_parent, KILLED, KILLED, KILLED},
	{"abort", try_abort, ABORTED, ABORTED, ABORTED},
	{"set a limit", try_set_limit, KILLED, KILLED, KILLED},
	{"read a limit", try_get_limit, 0, 0, 0},
	{"become dumpable", try_become_dumpable, KILLED, KILLED, KILLED},
	{"F_SETOWN", try_owner_of_descriptor, KILLED, KILLED, KILLED},
	{"F_SETFD", try_descriptor_flags, 0, 0, 0},
	{"a TCP socket", try_tcp_socket, KILLED, 0, 0},
	{"a packet socket", try_packet_socket, KILLED, KILLED, KILLED},
	{"a netlink socket", try_netlink_socket, KILLED, EAFNOSUPPORT, EAFNOSUPPORT},
	{"listen", try_listen, KILLED, KILLED, KILLED},
	{"terminal injection", try_terminal_injection, KILLED, KILLED, KILLED},
	{"setuid", try_setuid, KILLED, KILLED, KILLED},
	{"an event loop", try_event_loop, 0, 0, 0},
	{"a password hash", try_hash, 0, 0, 0},
	{"randomness and memory", try_random_and_memory, 0, 0, 0},
	{"a thread of libc's", try_libc_thread, KILLED, KILLED, 0},
	{"a fork out of a thread", try_fork_in_thread, KILLED, KILLED, KILLED},
	{"a namespace", try_namespace, KILLED, KILLED, KILLED},
	{"octets in an open file", try_place, KILLED, KILLED, 0},
};

/* The fate of a process that is confined as an ordinary user and then tries one thing. */
static int fate(const struct filter_case *c, enum child_syscalls syscalls)
{
	const struct child_confinement confinement = {.root = false};
	const struct child_start start = {.confinement = &confinement};
	int status;

	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (geteuid() == 0 && (setgroups(0, NULL) == -1 ||
					      setresgid(TEST_GID, TEST_GID, TEST_GID) == -1 ||
					      setresuid(TEST_UID, TEST_UID, TEST_UID) == -1))
			_exit(252);
		child_confine(&start, syscalls, NULL);
		_exit(c->attempt());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_false(WCOREDUMP(status));
		return -WTERMSIG(status);
	}
	return WEXITSTATUS(status);
}

static void test_filter_kills_what_no_child_needs(void **state)
{
	(void)state;
	if (!child_filter_applies()) {
		/* Sanitizers and valgrind: nothing may be installed, and work goes on. */
		assert_true(child_filter_install(CHILD_SYSCALLS_COMPUTE));
		assert_int_equal(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
		return;
	}
	place_fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	assert_int_not_equal(place_fd, -1);
	for (size_t i = 0; i < sizeof filter_cases / sizeof *filter_cases; i++) {
		const struct filter_case *c = &filter_cases[i];
		int compute = fate(c, CHILD_SYSCALLS_COMPUTE);
		int network = fate(c, CHILD_SYSCALLS_NETWORK);
		int spool = fate(c, CHILD_SYSCALLS_SPOOL);
		if (compute != c->compute || network != c->network || spool != c->spool)
			fail_msg("%s: got %d, %d and %d, want %d, %d and %d", c->name, compute,
				network, spool, c->compute, c->network, c->spool);
	}
	close(place_fd);
}

/* --------------------------------------------------------------- from outside */
struct confined {
	pid_t pid;
	int release; /* closing it ends the process */
};

/* Confines a process and waits until it says so. */
static struct confined start_confined(const struct child_confinement *confinement, bool drop_first)
{
	const struct child_start start = {.confinement = confinement};
	struct confined confined;
	int told[2], hold[2];
	char byte;

	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(hold), 0);
	confined.pid = fork();
	assert_int_not_equal(confined.pid, -1);
	if (confined.pid == 0) {
		close(told[0]);
		close(hold[1]);
		if (drop_first && geteuid() == 0 &&
			(setgroups(0, NULL) == -1 ||
				setresgid(TEST_GID, TEST_GID, TEST_GID) == -1 ||
				setresuid(TEST_UID, TEST_UID, TEST_UID) == -1))
			_exit(252);
		child_confine(&start, CHILD_SYSCALLS_NETWORK, NULL);
		if (write(told[1], "x", 1) != 1 || read(hold[0], &byte, 1) != 0)
			_exit(251);
		_exit(0);
	}
	close(told[1]);
	close(hold[0]);
	assert_int_equal(read(told[0], &byte, 1), 1);
	close(told[0]);
	confined.release = hold[1];
	return confined;
}

static void end_confined(struct confined *confined)
{
	int status;

	close(confined->release);
	assert_int_equal(waitpid(confined->pid, &status, 0), confined->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void read_proc(pid_t pid, const char *name, char *bytes, size_t size)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	bytes[fread(bytes, 1, size - 1, file)] = '\0';
	fclose(file);
}

static void expect_line(const char *text, const char *line)
{
	if (strstr(text, line) == NULL)
		fail_msg("got:\n%s\nwant a line %s", text, line);
}

static void expect_common(pid_t pid)
{
	char text[8192];

	read_proc(pid, "status", text, sizeof text);
	expect_line(text, "CapInh:\t0000000000000000\n");
	expect_line(text, "CapPrm:\t0000000000000000\n");
	expect_line(text, "CapEff:\t0000000000000000\n");
	expect_line(text, "CapAmb:\t0000000000000000\n");
	expect_line(text, "NoNewPrivs:\t1\n");
	expect_line(text, child_filter_applies() ? "Seccomp:\t2\n" : "Seccomp:\t0\n");
	read_proc(pid, "limits", text, sizeof text);
	expect_line(text, "Max core file size        0                    0  ");
}

static void expect_descriptors_raised(pid_t pid)
{
	unsigned long soft = 0, hard = 1;
	char text[8192];

	read_proc(pid, "limits", text, sizeof text);
	const char *line = strstr(text, "Max open files");
	assert_non_null(line);
	assert_int_equal(sscanf(line, "Max open files %lu %lu", &soft, &hard), 2);
	assert_int_equal(soft, hard);
}

static void test_unprivileged_mode_drops_all_but_the_user(void **state)
{
	const struct child_confinement confinement = {.root = false};
	struct confined confined;

	(void)state;
	confined = start_confined(&confinement, true);
	expect_common(confined.pid);
	end_confined(&confined);
}

/* Needs root: what only root can see or do. */
static void expect_root_confinement(void)
{
	struct child_confinement confinement = {.root = true, .uid = TEST_UID, .gid = TEST_GID};
	char text[8192], path[64], root[PATH_MAX];
	struct confined confined;
	struct stat st;

	snprintf(confinement.root_directory, sizeof confinement.root_directory, "%s",
		empty_directory);
	confined = start_confined(&confinement, false);
	expect_common(confined.pid);
	expect_descriptors_raised(confined.pid);
	read_proc(confined.pid, "status", text, sizeof text);
	expect_line(text, "Uid:\t61234\t61234\t61234\t61234\n");
	expect_line(text, "Gid:\t61235\t61235\t61235\t61235\n");
	expect_line(text, "Groups:\t \n");
	expect_line(text, "CapBnd:\t0000000000000000\n");
	snprintf(path, sizeof path, "/proc/%ld/root", (long)confined.pid);
	ssize_t n = readlink(path, root, sizeof root - 1);
	assert_true(n > 0);
	root[n] = '\0';
	assert_string_equal(root, empty_directory);
	/* Files of a process that is not dumpable belong to root. */
	snprintf(path, sizeof path, "/proc/%ld/environ", (long)confined.pid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	end_confined(&confined);
}

/* An ordinary user who asks for a chroot gets none, and no process that goes on without. */
static void expect_refusal_without_root(void)
{
	struct child_confinement confinement = {.root = true, .uid = TEST_UID, .gid = TEST_GID};
	const struct child_start start = {.confinement = &confinement};
	int status;

	snprintf(confinement.root_directory, sizeof confinement.root_directory, "%s",
		empty_directory);
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		log_open("test", open("/dev/null", O_WRONLY), LOG_FORMAT_LOGFMT, LOG_INFO);
		if (geteuid() == 0 && setresuid(TEST_UID, TEST_UID, TEST_UID) == -1)
			_exit(252);
		child_confine(&start, CHILD_SYSCALLS_COMPUTE, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 71);
}

static void test_root_mode(void **state)
{
	(void)state;
	if (geteuid() == 0)
		expect_root_confinement();
	expect_refusal_without_root();
}

/* The kernel takes the children of a master that was killed. */
static void test_death_of_the_parent_ends_a_confined_child(void **state)
{
	const struct child_confinement confinement = {.root = false};
	const struct child_start start = {.confinement = &confinement};
	int alive[2];
	char byte;

	(void)state;
	assert_int_equal(pipe(alive), 0);
	pid_t parent = fork();
	assert_int_not_equal(parent, -1);
	if (parent == 0) {
		if (fork() == 0) {
			close(alive[0]);
			child_confine(&start, CHILD_SYSCALLS_COMPUTE, NULL);
			if (write(alive[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				poll(NULL, 0, -1);
		}
		close(alive[1]);
		(void)!read(alive[0], &byte, 1);
		_exit(0);
	}
	close(alive[1]);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	/* The end of the pipe: its last writer is gone. */
	while (read(alive[0], &byte, 1) == 1)
		;
	close(alive[0]);
}

static int group_setup(void **state)
{
	(void)state;
	return sodium_init() == -1 || mkdtemp(empty_directory) == NULL ||
	       chmod(empty_directory, 0755) == -1;
}

static int group_teardown(void **state)
{
	(void)state;
	return rmdir(empty_directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter_kills_what_no_child_needs),
		cmocka_unit_test(test_unprivileged_mode_drops_all_but_the_user),
		cmocka_unit_test(test_root_mode),
		cmocka_unit_test(test_death_of_the_parent_ends_a_confined_child),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
