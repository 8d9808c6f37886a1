/* SPDX-License-Identifier: ISC */
/* Live sessions by account: what a change looks at again, in which order, and how many at a time.
 */
#include "auth/live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LOOKUPS_MAX = 1024, SESSIONS = 200 };

static struct {
	size_t asked;
	uint64_t tickets[LOOKUPS_MAX];
	char logins[LOOKUPS_MAX][16];
	bool refuses;
} lookups;

static struct test_session {
	struct live_session live;
	char login[16];
	size_t checked;
	uint64_t row; /* the id of the last one that it was held to; 0: there was none */
} sessions[SESSIONS];

static struct row_cache *accounts;
static struct live *live;
static bool ends_them;

static bool lookup(void *arg, uint64_t ticket, const uint8_t *login, size_t len)
{
	(void)arg;
	if (lookups.refuses)
		return false;
	snprintf(lookups.logins[lookups.asked], 16, "%.*s", (int)len, (const char *)login);
	lookups.tickets[lookups.asked++] = ticket;
	return true;
}

static void check(struct live_session *session, const struct account *row, void *arg)
{
	struct test_session *mine = (struct test_session *)session;

	assert_ptr_equal(arg, sessions);
	mine->checked++;
	mine->row = row == NULL ? 0 : row->id;
	if (ends_them)
		live_remove(live, session);
}

static int setup(void **state)
{
	const struct row_cache_settings settings = {
		.kind = &account_rows, .entries_max = 1000, .bytes_max = 1 << 20, .lookup = lookup};

	(void)state;
	memset(&lookups, 0, sizeof lookups);
	memset(sessions, 0, sizeof sessions);
	ends_them = false;
	accounts = row_cache_new(&settings);
	live = live_new(accounts, check, sessions);
	return accounts == NULL || live == NULL;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < SESSIONS; i++) {
		if (sessions[i].live.of != NULL)
			live_remove(live, &sessions[i].live);
	}
	live_destroy(&live);
	row_cache_destroy(&accounts);
	return 0;
}

static void begin(size_t i, const char *login, uint64_t account)
{
	snprintf(sessions[i].login, sizeof sessions[i].login, "%s", login);
	sessions[i].live.login = (const uint8_t *)sessions[i].login;
	sessions[i].live.login_len = (uint16_t)strlen(login);
	assert_true(live_add(live, &sessions[i].live, account));
}

/* Answers the look-up of a number. */
static void answer(size_t number, enum row_answer known, uint64_t id)
{
	struct account *row = NULL;

	if (known == ROW_KNOWN) {
		row = account_new(0);
		assert_non_null(row);
		row->id = id;
	}
	account_cache_answer(accounts, lookups.tickets[number], known, row, 0);
}

static void test_a_change_checks_the_sessions_of_that_account(void **state)
{
	(void)state;
	begin(0, "alice", 1);
	begin(1, "alice", 1);
	begin(2, "bob", 2);
	live_changed(live, 3, 0);
	assert_int_equal(lookups.asked, 0);
	live_changed(live, 1, 0);
	assert_int_equal(lookups.asked, 1);
	assert_int_equal(live_waiting(live), 1);
	answer(0, ROW_KNOWN, 1);
	assert_int_equal(sessions[0].checked, 1);
	assert_int_equal(sessions[1].checked, 1);
	assert_int_equal(sessions[0].row, 1);
	assert_int_equal(sessions[2].checked, 0);
	assert_int_equal(live_waiting(live), 0);
}

static void test_a_change_during_the_look_up_asks_again(void **state)
{
	(void)state;
	begin(0, "alice", 1);
	live_changed(live, 1, 0);
	live_changed(live, 1, 0);
	live_changed(live, 1, 0);
	assert_int_equal(lookups.asked, 1);
	answer(0, ROW_KNOWN, 1);
	assert_int_equal(lookups.asked, 2);
	answer(1, ROW_UNKNOWN, 0);
	assert_int_equal(sessions[0].checked, 2);
	assert_int_equal(sessions[0].row, 0);
	assert_int_equal(live_waiting(live), 0);
}

static void test_a_session_that_began_meanwhile_is_checked_too(void **state)
{
	(void)state;
	begin(0, "alice", 1);
	live_changed(live, 1, 0);
	begin(1, "alice", 1); /* by a row that nothing is known of now */
	live_verify(live, &sessions[1].live, 0);
	answer(0, ROW_KNOWN, 1);
	assert_int_equal(sessions[1].checked, 0);
	assert_int_equal(lookups.asked, 2);
	answer(1, ROW_KNOWN, 1);
	assert_int_equal(sessions[1].checked, 1);
	/* The row is remembered now, and nothing speaks against it. */
	begin(2, "alice", 1);
	live_verify(live, &sessions[2].live, 1);
	assert_int_equal(sessions[2].checked, 1);
	assert_int_equal(lookups.asked, 2);
}

static void test_every_login_of_the_account_is_looked_up(void **state)
{
	(void)state;
	begin(0, "alice", 1);
	begin(1, "al", 1); /* as it was called */
	begin(2, "alice", 1);
	live_changed(live, 1, 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(lookups.asked, i + 1);
		if (strcmp(lookups.logins[i], "al") == 0)
			answer(i, ROW_UNKNOWN, 0);
		else
			answer(i, ROW_KNOWN, 1);
	}
	assert_int_equal(lookups.asked, 2);
	assert_int_equal(sessions[0].row, 1);
	assert_int_equal(sessions[1].row, 0);
	assert_int_equal(sessions[1].checked, 1);
	assert_int_equal(sessions[2].row, 1);
}

static void test_everything_64_at_a_time_and_a_named_one_first(void **state)
{
	(void)state;
	for (size_t i = 0; i < SESSIONS; i++) {
		char login[16];
		snprintf(login, sizeof login, "user%zu", i);
		begin(i, login, 100 + i);
	}
	live_changed_all(live, 0);
	assert_int_equal(lookups.asked, LIVE_IN_FLIGHT_MAX);
	assert_int_equal(live_waiting(live), SESSIONS);
	live_changed(live, 299, 0);
	answer(0, ROW_KNOWN, 100);
	assert_int_equal(lookups.asked, LIVE_IN_FLIGHT_MAX + 1);
	assert_string_equal(lookups.logins[LIVE_IN_FLIGHT_MAX], "user199");
	for (size_t i = 1; i < SESSIONS; i++)
		answer(i, ROW_KNOWN, 5);
	assert_int_equal(lookups.asked, SESSIONS);
	assert_int_equal(live_waiting(live), 0);
	for (size_t i = 0; i < SESSIONS; i++)
		assert_int_equal(sessions[i].checked, 1);
}

static void test_an_outage_is_waited_out(void **state)
{
	(void)state;
	begin(0, "alice", 1);
	begin(1, "bob", 2);
	lookups.refuses = true;
	live_changed_all(live, 0);
	assert_int_equal(live_waiting(live), 2);
	live_tick(live, LIVE_RETRY_MS - 1);
	lookups.refuses = false;
	live_tick(live, LIVE_RETRY_MS - 1);
	assert_int_equal(lookups.asked, 0);
	live_tick(live, LIVE_RETRY_MS);
	assert_int_equal(lookups.asked, 2);
	answer(0, ROW_UNAVAILABLE, 0);
	answer(1, ROW_KNOWN, 2);
	assert_int_equal(sessions[0].checked + sessions[1].checked, 1);
	live_tick(live, 2 * LIVE_RETRY_MS);
	assert_int_equal(lookups.asked, 3);
	answer(2, ROW_KNOWN, 1);
	assert_int_equal(sessions[0].checked, 1);
	assert_int_equal(sessions[1].checked, 1);
}

static void test_sessions_may_end_at_any_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++)
		begin(i, "alice", 1);
	begin(3, "bob", 2);
	live_changed_all(live, 0);
	live_remove(live, &sessions[1].live);
	live_remove(live, &sessions[3].live); /* the answer finds nobody */
	ends_them = true;
	for (size_t i = 0; i < 2; i++)
		answer(i, ROW_KNOWN, 9);
	assert_int_equal(sessions[0].checked, 1);
	assert_int_equal(sessions[1].checked, 0);
	assert_int_equal(sessions[2].checked, 1);
	assert_null(sessions[2].live.of);
	assert_int_equal(live_waiting(live), 0);
	/* The same account again is another one to a look-up of before. */
	begin(4, "carol", 3);
	live_changed(live, 3, 0);
	live_remove(live, &sessions[4].live);
	begin(5, "carol", 3);
	answer(2, ROW_KNOWN, 3);
	assert_int_equal(sessions[5].checked, 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_change_checks_the_sessions_of_that_account),
		TEST(test_a_change_during_the_look_up_asks_again),
		TEST(test_a_session_that_began_meanwhile_is_checked_too),
		TEST(test_every_login_of_the_account_is_looked_up),
		TEST(test_everything_64_at_a_time_and_a_named_one_first),
		TEST(test_an_outage_is_waited_out),
		TEST(test_sessions_may_end_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
