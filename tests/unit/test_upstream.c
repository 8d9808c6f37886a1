/* SPDX-License-Identifier: ISC */
/* Which server is tried next, and what may be offered, from reports of probe. */
#include "proxy/upstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct config config;
static struct upstream *upstream;

static int set_up(void **state)
{
	(void)state;
	memset(&config, 0, sizeof config);
	config.backend_count = 2;
	config.backends[0].server_count = 3;
	config.backends[1].server_count = 1;
	upstream = upstream_new(&config);
	return upstream == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	upstream_free(&upstream);
	assert_null(upstream);
	return 0;
}

static void report(unsigned backend, unsigned server, bool up, uint32_t bits, uint64_t size)
{
	const struct ipc_server_state state = {.backend = (uint16_t)backend,
		.server = (uint16_t)server,
		.capabilities = bits,
		.size = size,
		.up = up};

	upstream_report(upstream, &state);
}

static void assert_offer(size_t backend, uint32_t bits, uint64_t size)
{
	struct capability_set offer = upstream_offer(upstream, backend);

	if (offer.bits != bits || offer.size != size)
		fail_msg("got %x and %llu, want %x and %llu", offer.bits,
			(unsigned long long)offer.size, bits, (unsigned long long)size);
}

/* ------------------------------------------------------------------- choose */
enum { UNKNOWN = -1, DOWN, UP };

static const struct {
	const char *name;
	int servers[3];
	unsigned tried;
	int want;
} choices[] = {
	{"nothing known: the file's order", {UNKNOWN, UNKNOWN, UNKNOWN}, 0, 0},
	{"all up: the file's order", {UP, UP, UP}, 0, 0},
	{"after the first", {UP, UP, UP}, 1, 1},
	{"after the first two", {UP, UP, UP}, 3, 2},
	{"the second was tried first", {UP, UP, UP}, 2, 0},
	{"all tried", {UP, UP, UP}, 7, -1},
	{"the first is down", {DOWN, UP, UP}, 0, 1},
	{"unknown goes before down", {DOWN, UNKNOWN, UP}, 0, 1},
	{"down is the last resort", {DOWN, UP, UP}, 6, 0},
	{"all down: still tried, in order", {DOWN, DOWN, DOWN}, 0, 0},
	{"all down, the first was tried", {DOWN, DOWN, DOWN}, 1, 1},
	{"all down, all tried", {DOWN, DOWN, DOWN}, 7, -1},
	{"bits of servers that are not there", {UP, UP, UP}, 0xfffffff8, 0},
};

static void test_choose(void **state)
{
	for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
		tear_down(state);
		assert_int_equal(set_up(state), 0);
		for (unsigned s = 0; s < 3; s++) {
			if (choices[i].servers[s] != UNKNOWN)
				report(0, s, choices[i].servers[s] == UP, CAPABILITY_EHLO, 0);
		}
		int got = upstream_choose(upstream, 0, choices[i].tried);
		if (got != choices[i].want)
			fail_msg("%s: got %d, want %d", choices[i].name, got, choices[i].want);
	}
}

/* -------------------------------------------------------------------- offer */
static void test_nothing_is_offered_before_a_probe(void **state)
{
	(void)state;
	assert_offer(0, 0, 0);
	report(0, 0, false, CAPABILITY_DSN, 5);
	assert_offer(0, 0, 0);
}

static void test_what_all_servers_have_is_offered(void **state)
{
	(void)state;
	report(0, 0, true, CAPABILITY_EHLO | CAPABILITY_DSN | CAPABILITY_SIZE, 1000);
	assert_offer(0, CAPABILITY_EHLO | CAPABILITY_DSN | CAPABILITY_SIZE, 1000);
	report(0, 2, true, CAPABILITY_EHLO | CAPABILITY_8BITMIME | CAPABILITY_SIZE, 500);
	assert_offer(0, CAPABILITY_EHLO | CAPABILITY_SIZE, 500);
	report(0, 1, true, CAPABILITY_EHLO, 0);
	assert_offer(0, CAPABILITY_EHLO, 500);
	assert_offer(1, 0, 0); /* the other backend has servers of its own */
}

/* A server that is away for a minute may be the one that takes the message in two. */
static void test_a_server_that_is_down_still_counts(void **state)
{
	(void)state;
	report(0, 0, true, CAPABILITY_EHLO | CAPABILITY_DSN, 0);
	report(0, 1, true, CAPABILITY_EHLO, 0);
	report(0, 1, false, 0, 0);
	assert_offer(0, CAPABILITY_EHLO, 0);
	report(0, 1, true, CAPABILITY_EHLO | CAPABILITY_DSN, 0);
	assert_offer(0, CAPABILITY_EHLO | CAPABILITY_DSN, 0);
}

static void test_reports_out_of_range_are_ignored(void **state)
{
	static const struct {
		unsigned backend, server;
	} rows[] = {{2, 0}, {0, 3}, {1, 1}, {UINT16_MAX, 0}, {0, UINT16_MAX},
		{CONFIG_BACKENDS_MAX, 0}, {0, CONFIG_SERVERS_MAX}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		report(rows[i].backend, rows[i].server, true, CAPABILITY_DSN, 5);
	assert_offer(0, 0, 0);
	assert_offer(1, 0, 0);
	assert_int_equal(upstream_choose(upstream, 0, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_choose),
		TEST(test_nothing_is_offered_before_a_probe),
		TEST(test_what_all_servers_have_is_offered),
		TEST(test_a_server_that_is_down_still_counts),
		TEST(test_reports_out_of_range_are_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
