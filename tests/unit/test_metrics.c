/* SPDX-License-Identifier: ISC */
/*
 * What admin says: /metrics from pages of counters, /readyz's reasons, and that no total decreases
 * while the master folds a page.
 */
#include "admin/health.h"
#include "admin/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* wants the headers above */

enum { NOW_MS = 1000000 };

/* Pages that pages_clear() may unmap, as real ones are. */
static struct counters *new_page(void)
{
	struct counters *page =
		mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(page, MAP_FAILED);
	page->heartbeat_ms = NOW_MS - 500;
	return page;
}

static struct counters *add_page(struct pages *pages, enum ipc_process process, unsigned index)
{
	struct counters *page = new_page();

	assert_true(pages_set(pages, process, index, page));
	return page;
}

struct house {
	struct pages pages;
	struct counters *master, *auth, *proxy0, *proxy1, *probe;
};

/* All is well. */
static void make_house(struct house *house)
{
	memset(house, 0, sizeof *house);
	house->auth = add_page(&house->pages, IPC_PROCESS_AUTH, 0);
	house->proxy0 = add_page(&house->pages, IPC_PROCESS_PROXY, 0);
	house->proxy1 = add_page(&house->pages, IPC_PROCESS_PROXY, 1);
	house->probe = add_page(&house->pages, IPC_PROCESS_PROBE, 0);
	house->master = add_page(&house->pages, IPC_PROCESS_MASTER, 0);
	house->master->values[COUNTER_CHILDREN_AUTH] = 1;
	house->master->values[COUNTER_CHILDREN_PROXY] = 2;
	house->auth->values[COUNTER_DATABASE_UP] = 1;
	house->probe->values[COUNTER_BACKENDS_UP] = 1;
}

static void take_text(struct evbuffer *buffer, char *text, size_t size)
{
	int n = evbuffer_remove(buffer, text, size - 1);

	assert_true(n >= 0 && (size_t)n < size - 1);
	text[n] = '\0';
	evbuffer_free(buffer);
}

static void write_metrics(const struct pages *pages, char *text, size_t size)
{
	struct evbuffer *buffer = evbuffer_new();

	metrics_write(pages, NOW_MS, buffer);
	take_text(buffer, text, size);
}

static void expect_line(const char *text, const char *line)
{
	char with_ends[300];

	snprintf(with_ends, sizeof with_ends, "\n%s\n", line);
	if (strstr(text, with_ends) == NULL)
		fail_msg("got:\n%s\nwant the line %s", text, line);
}

/* ------------------------------------------------------------------ metrics */
static void test_metrics_sum_all_processes(void **state)
{
	static char text[65536];
	struct house house;

	(void)state;
	make_house(&house);
	house.proxy0->values[COUNTER_CONNECTIONS] = 40;
	house.proxy1->values[COUNTER_CONNECTIONS] = 2;
	house.master->values[COUNTER_CONNECTIONS] = 100; /* of those that ended */
	house.proxy1->values[COUNTER_SESSIONS] = 7;
	house.proxy0->values[COUNTER_BODY_BYTES] = UINT64_C(1) << 60;
	write_metrics(&house.pages, text, sizeof text);
	expect_line(text, "# HELP postern_connections_total Connections accepted");
	expect_line(text, "# TYPE postern_connections_total counter");
	expect_line(text, "postern_connections_total 142");
	expect_line(text, "# TYPE postern_sessions gauge");
	expect_line(text, "postern_sessions 7");
	expect_line(text, "postern_message_bytes_total 1152921504606846976");
	expect_line(text, "postern_build_info{version=\"" POSTERN_VERSION "\"} 1");
	expect_line(
		text, "postern_process_heartbeat_age_seconds{process=\"proxy\",index=\"1\"} 0.500");
	pages_clear(&house.pages);
}

static void test_every_metric_has_help_type_and_value_once(void **state)
{
	static char text[65536];
	struct house house;

	(void)state;
	make_house(&house);
	write_metrics(&house.pages, text, sizeof text);
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_info *info = &counter_info[i];
		size_t len = strlen(info->metric);
		char line[300];
		snprintf(line, sizeof line, "# TYPE %s %s", info->metric,
			info->gauge ? "gauge" : "counter");
		expect_line(text, line);
		snprintf(line, sizeof line, "# HELP %s %s", info->metric, info->help);
		expect_line(text, line);
		bool total = len > 6 && strcmp(info->metric + len - 6, "_total") == 0;
		if (total == info->gauge || strncmp(info->metric, "postern_", 8) != 0)
			fail_msg("%s: a counter's name ends in _total, a gauge's does not",
				info->metric);
		unsigned values = 0;
		snprintf(line, sizeof line, "\n%s ", info->metric);
		for (const char *at = strstr(text, line); at != NULL; at = strstr(at + 1, line))
			values++;
		assert_int_equal(values, 1);
	}
	assert_int_equal(text[strlen(text) - 1], '\n');
	pages_clear(&house.pages);
}

static void test_pages_come_and_go(void **state)
{
	uint64_t total[COUNTER_COUNT];
	struct house house;

	(void)state;
	make_house(&house);
	house.proxy0->values[COUNTER_SESSIONS] = 3;
	house.proxy1->values[COUNTER_SESSIONS] = 4;
	pages_total(&house.pages, total);
	assert_int_equal(total[COUNTER_SESSIONS], 7);
	assert_true(pages_set(&house.pages, IPC_PROCESS_PROXY, 0, NULL));
	assert_null(pages_find(&house.pages, IPC_PROCESS_PROXY, 0));
	assert_true(pages_set(&house.pages, IPC_PROCESS_PROXY, 0, NULL));
	pages_total(&house.pages, total);
	assert_int_equal(total[COUNTER_SESSIONS], 4);
	struct counters *fresh = add_page(&house.pages, IPC_PROCESS_PROXY, 1);
	fresh->values[COUNTER_SESSIONS] = 1;
	pages_total(&house.pages, total);
	assert_int_equal(total[COUNTER_SESSIONS], 1);
	pages_clear(&house.pages);
	pages_total(&house.pages, total);
	assert_int_equal(total[COUNTER_SESSIONS], 0);
}

static void test_more_processes_than_pages_are_refused(void **state)
{
	struct pages pages = {0};

	(void)state;
	for (unsigned i = 0; i < PAGES_MAX; i++)
		(void)add_page(&pages, IPC_PROCESS_HASH, i);
	assert_false(pages_set(&pages, IPC_PROCESS_HASH, PAGES_MAX, new_page()));
	assert_int_equal(pages.count, PAGES_MAX);
	pages_clear(&pages);
}

/* ---------------------------------------------------------------- retirement */
static void test_fold_keeps_counters_and_drops_gauges(void **state)
{
	uint64_t total[COUNTER_COUNT];
	struct house house;

	(void)state;
	make_house(&house);
	house.proxy0->values[COUNTER_CONNECTIONS] = 5;
	house.proxy0->values[COUNTER_SESSIONS] = 9;
	counters_fold(house.master, house.proxy0);
	/* admin still has the page of the one that ended */
	pages_total(&house.pages, total);
	assert_int_equal(total[COUNTER_CONNECTIONS], 5);
	assert_int_equal(total[COUNTER_SESSIONS], 0);
	assert_true(pages_set(&house.pages, IPC_PROCESS_PROXY, 0, NULL));
	pages_total(&house.pages, total);
	assert_int_equal(total[COUNTER_CONNECTIONS], 5);
	pages_clear(&house.pages);
}

/* One process folds page after page, as the master does; this one reads, as admin does. */
enum { FOLDS = 2000, EACH = 1000 };

static void test_totals_never_decrease_while_pages_are_folded(void **state)
{
	struct counters *retiring[FOLDS], *master = new_page();
	const struct counters *pages[FOLDS + 1] = {master};
	uint64_t total[COUNTER_COUNT];
	int status, reads = 0;

	(void)state;
	for (int i = 0; i < FOLDS; i++) {
		retiring[i] = new_page();
		retiring[i]->values[COUNTER_COMMANDS] = EACH;
		pages[i + 1] = retiring[i];
	}
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		for (int i = 0; i < FOLDS; i++)
			counters_fold(master, retiring[i]);
		_exit(0);
	}
	do {
		counters_total(pages, FOLDS + 1, total);
		if (total[COUNTER_COMMANDS] != (uint64_t)FOLDS * EACH)
			fail_msg("read %d: got %llu, want %d", reads,
				(unsigned long long)total[COUNTER_COMMANDS], FOLDS * EACH);
		reads++;
	} while (waitpid(pid, &status, WNOHANG) == 0);
	assert_int_equal(status, 0);
	counters_total(pages, FOLDS + 1, total);
	assert_int_equal(total[COUNTER_COMMANDS], FOLDS * EACH);
	assert_int_equal(master->values[COUNTER_COMMANDS], FOLDS * EACH);
	for (int i = 0; i <= FOLDS; i++)
		counters_unmap(pages[i]);
}

/* A master that died within a fold must not hang its reader. */
static void test_a_fold_that_never_ends_does_not_hang_the_reader(void **state)
{
	uint64_t total[COUNTER_COUNT];
	struct house house;

	(void)state;
	make_house(&house);
	house.master->folds = 1;
	pages_total(&house.pages, total);
	assert_int_equal(total[COUNTER_CHILDREN_PROXY], 2);
	pages_clear(&house.pages);
}

/* ------------------------------------------------------------------- health */
static void set_well(struct house *house)
{
	(void)house;
}

static void set_draining(struct house *house)
{
	house->master->values[COUNTER_DRAINING] = 1;
}

static void set_master_still(struct house *house)
{
	house->master->heartbeat_ms = NOW_MS - HEALTH_STALE_MS - 1;
}

static void set_no_auth(struct house *house)
{
	assert_true(pages_set(&house->pages, IPC_PROCESS_AUTH, 0, NULL));
	house->master->values[COUNTER_CHILDREN_AUTH] = 0;
}

static void set_auth_not_ready(struct house *house)
{
	house->master->values[COUNTER_CHILDREN_AUTH] = 0;
}

static void set_auth_still(struct house *house)
{
	house->auth->heartbeat_ms = NOW_MS - 12000;
}

static void set_auth_nearly_still(struct house *house)
{
	house->auth->heartbeat_ms = NOW_MS - HEALTH_STALE_MS;
}

static void set_clock_behind(struct house *house)
{
	house->auth->heartbeat_ms = NOW_MS + 50; /* beat after the time was taken */
}

static void set_no_database(struct house *house)
{
	house->auth->values[COUNTER_DATABASE_UP] = 0;
}

static void set_no_proxies(struct house *house)
{
	house->master->values[COUNTER_CHILDREN_PROXY] = 0;
}

static void set_no_backend(struct house *house)
{
	house->probe->values[COUNTER_BACKENDS_UP] = 0;
}

static void set_nothing(struct house *house)
{
	pages_clear(&house->pages);
}

static void set_two_away(struct house *house)
{
	set_no_database(house);
	set_no_backend(house);
}

static const struct {
	const char *name;
	void (*set)(struct house *house);
	const char *text; /* "": ready */
} health_cases[] = {
	{"all is well", set_well, ""},
	{"nearly still", set_auth_nearly_still, ""},
	{"clock behind", set_clock_behind, ""},
	{"draining", set_draining, "draining: Postern was told to stop\n"},
	{"master stands still", set_master_still, "master: it stands still\n"},
	{"no auth", set_no_auth, "auth: the auth process is away; it is being started\n"},
	{"auth not ready", set_auth_not_ready,
		"auth: the auth process is away; it is being started\n"},
	{"auth stands still", set_auth_still,
		"auth: the auth process has stood still for 12 s\n"
		"database: not known while auth stands still\n"},
	{"no database", set_no_database, "database: auth has no working connection to it\n"},
	{"no proxies", set_no_proxies, "proxies: no proxy process serves\n"},
	{"no backend", set_no_backend, "backend: every backend is away\n"},
	{"two reasons", set_two_away,
		"database: auth has no working connection to it\nbackend: every backend is away\n"},
	{"nothing at all", set_nothing,
		"master: it stands still\nauth: the auth process is away; it is being started\n"
		"proxies: no proxy process serves\nbackend: every backend is away\n"},
};

static void test_readiness_has_one_line_a_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof health_cases / sizeof *health_cases; i++) {
		struct evbuffer *out = evbuffer_new();
		struct house house;
		char text[1024];

		make_house(&house);
		health_cases[i].set(&house);
		bool ready = health_ready(&house.pages, NOW_MS, out);
		take_text(out, text, sizeof text);
		if (strcmp(text, health_cases[i].text) != 0 ||
			ready != (health_cases[i].text[0] == '\0'))
			fail_msg("%s: got %d \"%s\", want \"%s\"", health_cases[i].name, ready,
				text, health_cases[i].text);
		pages_clear(&house.pages);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metrics_sum_all_processes),
		cmocka_unit_test(test_every_metric_has_help_type_and_value_once),
		cmocka_unit_test(test_pages_come_and_go),
		cmocka_unit_test(test_more_processes_than_pages_are_refused),
		cmocka_unit_test(test_fold_keeps_counters_and_drops_gauges),
		cmocka_unit_test(test_totals_never_decrease_while_pages_are_folded),
		cmocka_unit_test(test_a_fold_that_never_ends_does_not_hang_the_reader),
		cmocka_unit_test(test_readiness_has_one_line_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
