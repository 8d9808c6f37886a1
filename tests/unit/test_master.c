/* SPDX-License-Identifier: ISC */
/*
 * The parts of the master that need no children: users, CPUs, listening sockets, the runtime
 * directory, who talks to whom.
 */
#include "master/children.h"
#include "master/listeners.h"
#include "master/runtime.h"
#include "master/users.h"
#include "master/wiring.h"
#include "master/workers.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* wants the headers above */

/* What a function wrote to its FILE *err. */
struct complaint {
	FILE *file;
	char *text;
	size_t len;
};

static void open_complaint(struct complaint *complaint)
{
	complaint->file = open_memstream(&complaint->text, &complaint->len);
	assert_non_null(complaint->file);
}

static void expect_complaint(struct complaint *complaint, const char *part)
{
	fclose(complaint->file);
	if (part[0] == '\0' ? complaint->len != 0 : strstr(complaint->text, part) == NULL)
		fail_msg("got \"%s\", want \"%s\"", complaint->text, part);
	free(complaint->text);
}

/* ------------------------------------------------------------------ workers */
static void write_file(const char *directory, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	fclose(file);
}

/* A tree like /sys/fs/cgroup, with the group /a/b in version 2 and /c in version 1. */
struct cgroup_case {
	const char *name, *groups;
	const char *root_max, *a_max, *b_max; /* NULL: no such file */
	const char *quota, *period;
	unsigned cpus;
};

static const struct cgroup_case cgroup_cases[] = {
	{"no limit", "0::/a/b\n", NULL, "max 100000\n", "max 100000\n", NULL, NULL, 0},
	{"one", "0::/a/b\n", NULL, "max 100000\n", "100000 100000\n", NULL, NULL, 1},
	{"rounded up", "0::/a/b\n", NULL, NULL, "150000 100000\n", NULL, NULL, 2},
	{"less than one", "0::/a/b\n", NULL, NULL, "1000 100000\n", NULL, NULL, 1},
	{"the parent is tighter", "0::/a/b\n", NULL, "200000 100000\n", "400000 100000\n", NULL,
		NULL, 2},
	{"the child is tighter", "0::/a/b\n", NULL, "400000 100000\n", "300000 100000\n", NULL,
		NULL, 3},
	{"of the root in a container", "0::/\n", "300000 100000\n", "100000 100000\n", NULL, NULL,
		NULL, 3},
	{"another group's", "0::/a\n", NULL, NULL, "100000 100000\n", NULL, NULL, 0},
	{"zero", "0::/a/b\n", NULL, NULL, "0 100000\n", NULL, NULL, 0},
	{"no period", "0::/a/b\n", NULL, NULL, "100000\n", NULL, NULL, 0},
	{"a period of zero", "0::/a/b\n", NULL, NULL, "100000 0\n", NULL, NULL, 0},
	{"more than fits", "0::/a/b\n", NULL, NULL, "99999999999999999999999 1\n", NULL, NULL, 0},
	{"garbage", "0::/a/b\n", NULL, NULL, "\n", NULL, NULL, 0},
	{"version 1", "4:memory:/x\n3:cpu,cpuacct:/c\n", NULL, NULL, NULL, "250000\n", "100000\n",
		3},
	{"version 1, none", "3:cpuacct,cpu:/c\n", NULL, NULL, NULL, "-1\n", "100000\n", 0},
	{"version 1, not this one", "3:cpuset,cpuacct:/c\n", NULL, NULL, NULL, "100000\n",
		"100000\n", 0},
	{"both", "3:cpu:/c\n0::/a/b\n", NULL, NULL, "400000 100000\n", "200000\n", "100000\n", 2},
	{"broken lines", "nonsense\n1:\n\n", NULL, NULL, NULL, NULL, NULL, 0},
	{"no groups at all", "", NULL, NULL, NULL, NULL, NULL, 0},
};

static void write_or_remove(const char *directory, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	(void)unlink(path);
	if (text != NULL)
		write_file(directory, name, text);
}

static void fill_cgroup(const char *top, const struct cgroup_case *c)
{
	char a[64], b[64], v1[64];

	snprintf(a, sizeof a, "%s/a", top);
	snprintf(b, sizeof b, "%s/a/b", top);
	snprintf(v1, sizeof v1, "%s/cpu/c", top);
	write_or_remove(top, "groups", c->groups);
	write_or_remove(top, "cpu.max", c->root_max);
	write_or_remove(a, "cpu.max", c->a_max);
	write_or_remove(b, "cpu.max", c->b_max);
	write_or_remove(v1, "cpu.cfs_quota_us", c->quota);
	write_or_remove(v1, "cpu.cfs_period_us", c->period);
}

static void test_cpu_limit_of_a_control_group(void **state)
{
	static const char *const directories[] = {"a", "a/b", "cpu", "cpu/c"};
	static const struct cgroup_case nothing = {0};
	char top[] = "/tmp/postern-cgroup-XXXXXX", path[64], groups[64];

	(void)state;
	assert_non_null(mkdtemp(top));
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "%s/%s", top, directories[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	snprintf(groups, sizeof groups, "%s/groups", top);
	for (size_t i = 0; i < sizeof cgroup_cases / sizeof *cgroup_cases; i++) {
		const struct cgroup_case *c = &cgroup_cases[i];
		fill_cgroup(top, c);
		unsigned got = workers_group_limit(top, groups);
		if (got != c->cpus)
			fail_msg("%s: got %u, want %u", c->name, got, c->cpus);
	}
	fill_cgroup(top, &nothing);
	assert_int_equal(workers_group_limit(top, groups), 0); /* no file either */
	for (int i = 4; i > 0; i--) {
		snprintf(path, sizeof path, "%s/%s", top, directories[i - 1]);
		assert_int_equal(rmdir(path), 0);
	}
	assert_int_equal(rmdir(top), 0);
}

static void test_affinity_bounds_the_workers(void **state)
{
	int status;

	(void)state;
	assert_in_range(workers_auto(), 1, CONFIG_WORKERS_MAX);
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		cpu_set_t set, one;
		int cpu = 0;
		if (sched_getaffinity(0, sizeof set, &set) == -1)
			_exit(100);
		while (!CPU_ISSET(cpu, &set))
			cpu++;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof one, &one) == -1)
			_exit(101);
		_exit((int)workers_auto());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

/* -------------------------------------------------------------------- users */
static char *user_strings[CONFIG_USER_COUNT];

static void set_users(struct config *config, const char *all, const char *hash)
{
	for (int i = 0; i < CONFIG_USER_COUNT; i++) {
		free(user_strings[i]);
		user_strings[i] = strdup(i == CONFIG_USER_HASH ? hash : all);
		config->users[i] = user_strings[i];
	}
}

static void test_users(void **state)
{
	static const struct {
		const char *hash;
		bool good;
		uint32_t uid, gid;
		const char *complaint;
	} cases[] = {
		{"61002", true, 61002, 61002, ""},
		{"nobody", true, 65534, 65534, ""},
		{"root", false, 0, 0, "users.hash: root is root"},
		{"0", false, 0, 0, "users.hash: 0 is root"},
		{"4294967295", false, 0, 0, "users.hash: 4294967295 is no user number"},
		{"99999999999999999999999999", false, 0, 0, "is no user number"},
		{"postern-no-such", false, 0, 0,
			"users.hash: there is no user postern-no-such: run `useradd --system "
			"--user-group --no-create-home --home-dir /nonexistent --shell "
			"/usr/sbin/nologin postern-no-such`\n"},
		{"", false, 0, 0, "there is no user"},
	};
	static struct config config;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct user_ids ids[CONFIG_USER_COUNT];
		struct complaint complaint;
		open_complaint(&complaint);
		set_users(&config, "61001", cases[i].hash);
		assert_int_equal(users_resolve(&config, ids, complaint.file), cases[i].good);
		expect_complaint(&complaint, cases[i].complaint);
		assert_int_equal(ids[CONFIG_USER_ADMIN].uid, 61001);
		if (!cases[i].good)
			continue;
		assert_int_equal(ids[CONFIG_USER_HASH].uid, cases[i].uid);
		assert_int_equal(ids[CONFIG_USER_HASH].gid, cases[i].gid);
	}
	for (int i = 0; i < CONFIG_USER_COUNT; i++)
		free(user_strings[i]);
	memset(user_strings, 0, sizeof user_strings);
}

/* ---------------------------------------------------------------- listeners */
static char config_path[] = "test.conf", section_name[] = "submissions";

/* Port 1 stands for "any": address_parse() knows no port 0. */
static void set_address(struct config *config, size_t index, const char *text)
{
	config->path = config_path;
	config->listener_count = 1;
	config->listeners[0].name = section_name;
	config->listeners[0].line = 12;
	config->listeners[0].address_count = index + 1;
	struct address *address = &config->listeners[0].addresses[index];
	assert_true(address_parse(text, -1, address));
	if (address_port(address) == 1)
		address->v4.sin_port = 0; /* where sin6_port is, too */
}

static void test_listeners_are_bound_non_blocking_and_close_on_exec(void **state)
{
	static struct config config;
	static struct listeners listeners;
	struct complaint complaint;

	(void)state;
	open_complaint(&complaint);
	set_address(&config, 0, "127.0.0.1:1");
	set_address(&config, 1, "[::1]:1");
	assert_true(listeners_open(&config, &listeners, complaint.file));
	expect_complaint(&complaint, "");
	assert_int_equal(listeners.smtp_count, 2);
	assert_int_equal(listeners.admin.fd, -1);
	for (size_t i = 0; i < 2; i++) {
		int fd = listeners.smtp[i].fd, on = 0;
		socklen_t len = sizeof on;
		assert_int_equal(listeners.smtp[i].listen, 0);
		assert_int_equal(listeners.smtp[i].address, i);
		assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len), 0);
		assert_int_equal(on, 1);
	}
	int only = 0;
	socklen_t len = sizeof only;
	assert_int_equal(
		getsockopt(listeners.smtp[1].fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len), 0);
	assert_int_equal(only, 1);
	int first = listeners.smtp[0].fd;
	listeners_close(&listeners);
	assert_int_equal(fcntl(first, F_GETFD), -1);
}

static void test_taken_address_is_told_with_file_and_line(void **state)
{
	static struct config config;
	static struct listeners first, second;
	struct complaint complaint;
	struct address taken = {.len = sizeof taken.v4};
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	set_address(&config, 0, "127.0.0.1:1");
	assert_true(listeners_open(&config, &first, stderr));
	assert_int_equal(getsockname(first.smtp[0].fd, &taken.sa, &taken.len), 0);
	set_address(&config, 0, "127.0.0.1:1");
	set_address(&config, 1, address_format(&taken, text));
	open_complaint(&complaint);
	assert_false(listeners_open(&config, &second, complaint.file));
	expect_complaint(&complaint,
		"Address already in use; another program (perhaps a second postern) already "
		"listens there: stop it, or change the address\n");
	assert_int_equal(second.smtp_count, 0);
	open_complaint(&complaint);
	assert_false(listeners_open(&config, &second, complaint.file));
	expect_complaint(&complaint, "test.conf:12: listen \"submissions\": cannot listen on 127.");
	listeners_close(&first);
}

static void test_address_of_another_machine(void **state)
{
	static struct config config;
	static struct listeners listeners;
	struct complaint complaint;

	(void)state;
	set_address(&config, 0, "192.0.2.1:2525");
	open_complaint(&complaint);
	assert_false(listeners_open(&config, &listeners, complaint.file));
	expect_complaint(&complaint, "this machine does not have that address");
}

/* ------------------------------------------------------------------ runtime */
static char parent[] = "/tmp/postern-runtime-XXXXXX", directory[64];

static int runtime_setup(void **state)
{
	(void)state;
	if (mkdtemp(parent) == NULL)
		return -1;
	snprintf(directory, sizeof directory, "%s/run", parent);
	return 0;
}

static int runtime_teardown(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof path, "%s/empty", directory);
	rmdir(path);
	return rmdir(directory) == -1 || rmdir(parent) == -1;
}

/* As root the directories must be root's; the tests that ask for it run as root in CI. */
static void test_runtime_directory_is_made_once_and_checked(void **state)
{
	static struct config config = {.runtime_directory = directory};
	bool root = geteuid() == 0;
	struct complaint complaint;
	struct stat st;

	(void)state;
	mode_t mask = umask(077);
	open_complaint(&complaint);
	assert_true(runtime_make_directory(&config, root, complaint.file));
	assert_true(runtime_make_directory(&config, root, complaint.file));
	expect_complaint(&complaint, "");
	umask(mask);
	assert_int_equal(stat(directory, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(chmod(directory, 0777), 0);
	open_complaint(&complaint);
	assert_false(runtime_make_directory(&config, true, complaint.file));
	expect_complaint(&complaint, "that nobody else may write to: run `chown root:root ");
	assert_int_equal(chmod(directory, 0755), 0);
}

static void test_the_spool_s_directory_is_made_for_us_alone(void **state)
{
	static struct config config;
	struct complaint complaint;
	char path[128];
	struct stat st;

	(void)state;
	snprintf(path, sizeof path, "%s/spool", parent);
	config.spool.directory = path;
	mode_t mask = umask(0);
	open_complaint(&complaint);
	assert_true(runtime_make_spool(&config, complaint.file));
	assert_true(runtime_make_spool(&config, complaint.file));
	expect_complaint(&complaint, "");
	umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof path, "%s/not/there", parent);
	open_complaint(&complaint);
	assert_false(runtime_make_spool(&config, complaint.file));
	expect_complaint(&complaint, "spool.directory: cannot make ");
}

static void test_empty_directory_must_be_empty_and_roots(void **state)
{
	static struct config config = {.runtime_directory = directory};
	char path[1024], file[1100];
	struct complaint complaint;

	(void)state;
	open_complaint(&complaint);
	bool made = runtime_make_empty(&config, path, sizeof path, complaint.file);
	if (geteuid() != 0) {
		assert_false(made);
		expect_complaint(&complaint, "must be a directory of root's");
		return;
	}
	assert_true(made);
	expect_complaint(&complaint, "");
	snprintf(file, sizeof file, "%s/x", path);
	int fd = open(file, O_CREAT | O_WRONLY, 0600);
	assert_int_not_equal(fd, -1);
	close(fd);
	open_complaint(&complaint);
	assert_false(runtime_make_empty(&config, path, sizeof path, complaint.file));
	expect_complaint(&complaint, "must be empty: remove what is in it");
	unlink(file);
	/* A link to a directory of somebody else's is none of root's. */
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/tmp", path), 0);
	open_complaint(&complaint);
	assert_false(runtime_make_empty(&config, path, sizeof path, complaint.file));
	expect_complaint(&complaint, "must be a directory of root's");
	unlink(path);
}

static void test_second_instance_is_told_the_pid_of_the_first(void **state)
{
	static struct config config = {.runtime_directory = directory};
	char want[128], text[32] = "", path[128];
	struct complaint complaint;
	int status;

	(void)state;
	int lock = runtime_lock(&config, stderr);
	assert_int_not_equal(lock, -1);
	snprintf(path, sizeof path, "%s/postern.pid", directory);
	int fd = open(path, O_RDONLY);
	assert_true(read(fd, text, sizeof text - 1) > 0);
	assert_int_equal(strtol(text, NULL, 10), getpid());
	/* fd stays open: closing any descriptor of the file would end this process's lock. */
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		open_complaint(&complaint);
		int second = runtime_lock(&config, complaint.file);
		fclose(complaint.file);
		snprintf(
			want, sizeof want, "another postern (PID %ld) runs with ", (long)getppid());
		_exit(second == -1 && strstr(complaint.text, want) != NULL ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	runtime_unlock(&config, lock);
	close(fd);
	assert_int_equal(access(path, F_OK), -1);
}

/* ------------------------------------------------------------------- wiring */
static void test_who_talks_to_whom(void **state)
{
	static const enum ipc_process all[] = {IPC_PROCESS_MASTER, IPC_PROCESS_AUTH,
		IPC_PROCESS_HASH, IPC_PROCESS_PROXY, IPC_PROCESS_PROBE, IPC_PROCESS_ADMIN};
	unsigned channels = 0;

	(void)state;
	for (size_t a = 0; a < 6; a++) {
		for (size_t b = 0; b < 6; b++) {
			bool talks = wiring_talks(all[a], all[b]);
			assert_int_equal(talks, wiring_talks(all[b], all[a]));
			channels += talks;
		}
	}
	assert_int_equal(channels, 6); /* three pairs, seen from both ends */
	assert_true(wiring_talks(IPC_PROCESS_AUTH, IPC_PROCESS_PROXY));
	assert_true(wiring_talks(IPC_PROCESS_HASH, IPC_PROCESS_AUTH));
	assert_true(wiring_talks(IPC_PROCESS_PROXY, IPC_PROCESS_PROBE));
	assert_false(wiring_talks(IPC_PROCESS_HASH, IPC_PROCESS_PROXY));
	assert_false(wiring_talks(IPC_PROCESS_PROXY, IPC_PROCESS_PROXY));
}

static void test_table_of_children_in_the_order_of_their_start(void **state)
{
	static struct house house = {.workers = 2, .hashers = 3, .listeners = {.admin = {.fd = 9}}};
	static struct children children;
	static const enum ipc_process want[] = {IPC_PROCESS_AUTH, IPC_PROCESS_HASH,
		IPC_PROCESS_HASH, IPC_PROCESS_HASH, IPC_PROCESS_PROBE, IPC_PROCESS_PROXY,
		IPC_PROCESS_PROXY, IPC_PROCESS_ADMIN};

	(void)state;
	children_init(&children, &house);
	assert_int_equal(children.count, 8);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(children.slots[i].process, want[i]);
	assert_int_equal(children.slots[3].index, 2);
	assert_int_equal(children_all(&children), 0);
	house.listeners.admin.fd = -1; /* no HTTP, no admin */
	house.workers = CONFIG_WORKERS_MAX;
	house.hashers = CONFIG_HASHERS_MAX;
	children_init(&children, &house);
	assert_int_equal(children.count, 2 + CONFIG_WORKERS_MAX + CONFIG_HASHERS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpu_limit_of_a_control_group),
		cmocka_unit_test(test_affinity_bounds_the_workers),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_listeners_are_bound_non_blocking_and_close_on_exec),
		cmocka_unit_test(test_taken_address_is_told_with_file_and_line),
		cmocka_unit_test(test_address_of_another_machine),
		cmocka_unit_test(test_runtime_directory_is_made_once_and_checked),
		cmocka_unit_test(test_the_spool_s_directory_is_made_for_us_alone),
		cmocka_unit_test(test_empty_directory_must_be_empty_and_roots),
		cmocka_unit_test(test_second_instance_is_told_the_pid_of_the_first),
		cmocka_unit_test(test_who_talks_to_whom),
		cmocka_unit_test(test_table_of_children_in_the_order_of_their_start),
	};

	return cmocka_run_group_tests(tests, runtime_setup, runtime_teardown);
}
