/* SPDX-License-Identifier: ISC */
/* Pages of counters: who may write, what is added up, and that no total ever decreases. */
#include "common/counters.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct counters elsewhere;

static struct counters *new_page(int *fd_out)
{
	struct counters *page = NULL;

	*fd_out = counters_create(&page);
	assert_int_not_equal(*fd_out, -1);
	assert_non_null(page);
	return page;
}

static void drop_page(struct counters *page, int fd)
{
	counters_own(&elsewhere);
	counters_unmap(page);
	close(fd);
}

/* ------------------------------------------------------------------- table */
static bool is_metric_name(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return strncmp(name, "postern_", 8) == 0 && n > 8 && name[n] == '\0';
}

static bool ends_with(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a >= b && strcmp(text + a - b, end) == 0;
}

static void test_every_row_is_a_metric(void **state)
{
	(void)state;
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_info *info = &counter_info[i];
		if (!is_metric_name(info->metric) || strlen(info->help) == 0)
			fail_msg("%s: want postern_ and lower case, and a help text", info->metric);
		if (ends_with(info->metric, "_total") == info->gauge)
			fail_msg("%s: want _total for a counter, and only there", info->metric);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(info->metric, counter_info[j].metric);
	}
}

/* ------------------------------------------------------------------ a page */
static void test_a_page_starts_at_0(void **state)
{
	static const struct counters zero;
	int fd;
	struct counters *page = new_page(&fd);

	(void)state;
	assert_memory_equal(page, &zero, sizeof zero);
	drop_page(page, fd);
}

static void test_what_is_written_is_read(void **state)
{
	int fd;
	struct counters *page = new_page(&fd);
	const struct counters *reader = counters_map(fd);

	(void)state;
	assert_non_null(reader);
	counters_own(page);
	counter_add(COUNTER_CONNECTIONS, 1);
	counter_add(COUNTER_CONNECTIONS, UINT64_C(1) << 40);
	counter_set(COUNTER_SESSIONS, 9);
	counter_sub(COUNTER_SESSIONS, 4);
	counters_heartbeat(77);
	assert_true(counter_read(reader, COUNTER_CONNECTIONS) == (UINT64_C(1) << 40) + 1);
	assert_int_equal(counter_read(reader, COUNTER_SESSIONS), 5);
	assert_int_equal(counter_read(reader, COUNTER_COMMANDS), 0);
	assert_int_equal(counters_last_heartbeat(reader), 77);
	counters_unmap(reader);
	drop_page(page, fd);
}

static void test_a_gauge_stops_at_0(void **state)
{
	int fd;
	struct counters *page = new_page(&fd);

	(void)state;
	counters_own(page);
	counter_set(COUNTER_SESSIONS, 2);
	counter_sub(COUNTER_SESSIONS, 3);
	assert_int_equal(counter_read(page, COUNTER_SESSIONS), 0);
	drop_page(page, fd);
}

/* A library's code counts before the process has its page. */
static void test_counting_without_a_page_is_harmless(void **state)
{
	int fd;
	struct counters *page;

	(void)state;
	counter_add(COUNTER_CONNECTIONS, 5);
	page = new_page(&fd);
	counters_own(page);
	assert_int_equal(counter_read(page, COUNTER_CONNECTIONS), 0);
	drop_page(page, fd);
}

/* admin and every reader get the descriptor: it must not let them write. */
static void test_the_descriptor_cannot_be_written(void **state)
{
	int fd;
	struct counters *page = new_page(&fd);
	char octet = 1;

	(void)state;
	errno = 0;
	assert_ptr_equal(
		mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(errno, EPERM);
	assert_int_equal(write(fd, &octet, 1), -1);
	void *reading = mmap(NULL, sizeof *page, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(reading, MAP_FAILED);
	assert_int_equal(mprotect(reading, sizeof *page, PROT_READ | PROT_WRITE), -1);
	munmap(reading, sizeof *page);
	drop_page(page, fd);
}

static void test_the_descriptor_cannot_be_resized(void **state)
{
	int fd;
	struct counters *page = new_page(&fd);

	(void)state;
	assert_int_equal(ftruncate(fd, 0), -1); /* a reader would get SIGBUS */
	assert_int_equal(ftruncate(fd, 1 << 20), -1);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	drop_page(page, fd);
}

static void test_a_child_writes_the_page_that_it_inherits(void **state)
{
	int fd, status;
	struct counters *page = new_page(&fd);

	(void)state;
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		counters_own(page);
		counter_add(COUNTER_COMMANDS, 3);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(counter_read(page, COUNTER_COMMANDS), 3);
	drop_page(page, fd);
}

static void test_map_of_no_page(void **state)
{
	(void)state;
	assert_null(counters_map(-1));
	assert_int_equal(errno, EBADF);
	counters_unmap(NULL);
}

/* ------------------------------------------------------------------- totals */
static void test_fold_keeps_counters_and_ends_gauges(void **state)
{
	static struct counters master, child;
	const struct counters *pages[] = {&master, &child};
	uint64_t total[COUNTER_COUNT];

	(void)state;
	memset(&master, 0, sizeof master);
	memset(&child, 0, sizeof child);
	master.values[COUNTER_CONNECTIONS] = 10;
	child.values[COUNTER_CONNECTIONS] = 5;
	child.values[COUNTER_SESSIONS] = 3;
	counters_total(pages, 2, total);
	assert_int_equal(total[COUNTER_CONNECTIONS], 15);
	assert_int_equal(total[COUNTER_SESSIONS], 3);
	counters_fold(&master, &child);
	counters_total(pages, 2, total);
	assert_int_equal(total[COUNTER_CONNECTIONS], 15); /* once, though both pages have it */
	assert_int_equal(total[COUNTER_SESSIONS], 0);
	assert_int_equal(master.values[COUNTER_CONNECTIONS], 15);
	counters_total(pages, 1, total);
	assert_int_equal(total[COUNTER_CONNECTIONS], 15);
}

/* A master that died within a fold leaves an odd count: its reader must not wait for ever. */
static void test_total_of_an_unfinished_fold_returns(void **state)
{
	static struct counters master;
	const struct counters *pages[] = {&master};
	uint64_t total[COUNTER_COUNT];

	(void)state;
	memset(&master, 0, sizeof master);
	master.folds = 1;
	master.values[COUNTER_CONNECTIONS] = 10;
	counters_total(pages, 1, total);
	assert_int_equal(total[COUNTER_CONNECTIONS], 10);
}

enum { ROUNDS = 500 };

struct shared {           /* pages[0] is the master's */
	uint64_t reading; /* how many totals the reader has begun */
	struct counters pages[ROUNDS + 1];
};

/* One fold beside each of the reader's totals. */
static _Noreturn void fold_all(struct shared *shared)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 1; i <= ROUNDS; i++) {
		while (__atomic_load_n(&shared->reading, __ATOMIC_ACQUIRE) < i)
			sched_yield();
		counters_fold(&shared->pages[0], &shared->pages[i]);
	}
	_exit(0);
}

/* A page that is being folded while the reader adds counts once: neither missed nor twice. */
static void test_no_total_changes_while_pages_are_folded(void **state)
{
	const struct counters *pages[ROUNDS + 1];
	uint64_t total[COUNTER_COUNT];
	int status;

	(void)state;
	struct shared *shared = mmap(
		NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	for (size_t i = 0; i <= ROUNDS; i++) {
		shared->pages[i].values[COUNTER_CONNECTIONS] = i > 0 ? 1 : 0;
		pages[i] = &shared->pages[i];
	}
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0)
		fold_all(shared);
	for (size_t i = 1; i <= ROUNDS; i++) {
		__atomic_store_n(&shared->reading, i, __ATOMIC_RELEASE);
		counters_total(pages, ROUNDS + 1, total);
		assert_int_equal(total[COUNTER_CONNECTIONS], ROUNDS);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(shared->pages[0].values[COUNTER_CONNECTIONS], ROUNDS);
	munmap(shared, sizeof *shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row_is_a_metric),
		cmocka_unit_test(test_a_page_starts_at_0),
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_a_gauge_stops_at_0),
		cmocka_unit_test(test_counting_without_a_page_is_harmless),
		cmocka_unit_test(test_the_descriptor_cannot_be_written),
		cmocka_unit_test(test_the_descriptor_cannot_be_resized),
		cmocka_unit_test(test_a_child_writes_the_page_that_it_inherits),
		cmocka_unit_test(test_map_of_no_page),
		cmocka_unit_test(test_fold_keeps_counters_and_ends_gauges),
		cmocka_unit_test(test_total_of_an_unfinished_fold_returns),
		cmocka_unit_test(test_no_total_changes_while_pages_are_folded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
