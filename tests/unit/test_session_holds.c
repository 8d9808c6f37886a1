/* SPDX-License-Identifier: ISC */
/* Which changes of an account end the sessions that it has, and which leave them alone. */
#include "auth/serve.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_what_ends_a_session(void **state)
{
	enum { ID = 42, PASSWORD = 7 };
	const struct account row = {.id = ID,
		.version = 9,
		.password_version = PASSWORD,
		.enabled = true,
		.recipients = 10,
		.message_bytes = 1000,
		.from_policy = IPC_FROM_OBSERVE};
	struct account disabled = row, another = row, password = row, fewer = row, more = row,
		       unlimited = row, smaller = row, policy = row;
	const struct {
		const char *name;
		const struct account *row;
		uint64_t credential;
		bool holds;
	} cases[] = {
		{"the same", &row, 0, true},
		{"gone", NULL, 0, false},
		{"disabled", &disabled, 0, false},
		{"another under its login", &another, 0, false},
		{"another password", &password, 0, false},
		{"another password, by a credential", &password, 3, true},
		{"fewer recipients", &fewer, 0, false},
		{"more recipients", &more, 0, true},
		{"no limit", &unlimited, 0, true},
		{"smaller messages", &smaller, 0, false},
		{"another policy", &policy, 0, false},
	};

	(void)state;
	disabled.enabled = false;
	another.id = ID + 1;
	password.password_version = PASSWORD + 1;
	fewer.recipients = 9;
	more.recipients = 11;
	unlimited.recipients = 0;
	unlimited.message_bytes = 0;
	smaller.message_bytes = 999;
	policy.from_policy = IPC_FROM_LISTENER;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct session session = {.account = ID,
			.credential = cases[i].credential,
			.version = 8,
			.password_version = PASSWORD,
			.recipients = 10,
			.message_bytes = 1000,
			.from_policy = IPC_FROM_OBSERVE};
		if (session_holds(&session, cases[i].row) != cases[i].holds)
			fail_msg("%s: got %d, want %d", cases[i].name, !cases[i].holds,
				cases[i].holds);
		assert_int_equal(session.version, cases[i].holds ? 9 : 8);
	}
	/* A limit where there was none is a tighter one. */
	struct session free_one = {.account = ID,
		.password_version = PASSWORD,
		.from_policy = IPC_FROM_OBSERVE,
		.message_bytes = 1000};
	assert_false(session_holds(&free_one, &row));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_ends_a_session)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
