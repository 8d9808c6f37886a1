/* SPDX-License-Identifier: ISC */
/* Whom a message is for, as a proxy tells it: whole or not at all, bounded, and freed on every way.
 */
#include "auth/serve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SESSION = 5, TRANSACTION = 50 };

static struct peer peer;
static struct session *session;

static int setup(void **state)
{
	static const char login[] = "alice@Login.Test";

	(void)state;
	memset(&peer, 0, sizeof peer);
	peer.sessions = idmap_new();
	session = calloc(1, sizeof *session + sizeof login);
	if (peer.sessions == NULL || session == NULL || !idmap_put(peer.sessions, SESSION, session))
		return 1;
	session->id = SESSION;
	session->login_len = sizeof login - 1;
	memcpy(session->login, login, session->login_len);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	session_forget_message(&peer, session);
	free(session);
	idmap_destroy(&peer.sessions);
	return peer.recipients != 0;
}

static void tell(uint64_t transaction, uint32_t count, uint64_t first)
{
	struct ipc_recipients told = {.session = SESSION};

	told.count = (uint16_t)count;
	for (uint32_t i = 0; i < count; i++)
		told.hash[i] = first + i;
	serve_recipients(&peer, transaction, &told);
}

static bool take(uint64_t transaction, uint32_t count, struct recipients **whom)
{
	return session_take_recipients(&peer, session, transaction, count, whom);
}

static void test_all_frames_of_a_take(void **state)
{
	struct recipients *whom;

	(void)state;
	tell(TRANSACTION, 64, 0);
	tell(TRANSACTION, 64, 64);
	tell(TRANSACTION, 3, 128);
	assert_int_equal(peer.recipients, 131);
	assert_true(take(TRANSACTION, 131, &whom));
	assert_int_equal(whom->count, 131);
	for (uint64_t i = 0; i < 131; i++)
		assert_int_equal(whom->hash[i], i);
	assert_int_equal(whom->references, 1);
	assert_int_equal(peer.recipients, 0);
	recipients_unref(&whom);
	assert_null(whom);
	assert_true(take(TRANSACTION, 131, &whom)); /* once */
	assert_null(whom);
}

static void test_nobody_told_nobody(void **state)
{
	struct recipients *whom;

	(void)state;
	assert_true(take(TRANSACTION, 5, &whom));
	assert_null(whom);
}

static void test_not_as_many_as_the_take_says(void **state)
{
	struct recipients *whom;

	(void)state;
	tell(TRANSACTION, 5, 0);
	assert_false(take(TRANSACTION, 6, &whom));
	assert_null(whom);
	assert_int_equal(peer.recipients, 0);
}

static void test_another_transaction_begins_anew(void **state)
{
	struct recipients *whom;

	(void)state;
	tell(TRANSACTION, 5, 0);
	tell(TRANSACTION + 1, 2, 100);
	assert_int_equal(peer.recipients, 2);
	assert_true(take(TRANSACTION + 1, 2, &whom));
	assert_int_equal(whom->hash[0], 100);
	recipients_unref(&whom);
	tell(TRANSACTION, 5, 0); /* and what another one told is not a take's */
	assert_true(take(TRANSACTION + 2, 9, &whom));
	assert_null(whom);
}

static void test_as_many_as_the_account_may_have(void **state)
{
	struct recipients *whom;

	(void)state;
	session->recipients = 70;
	tell(TRANSACTION, 64, 0);
	tell(TRANSACTION, 7, 0);
	assert_int_equal(peer.recipients, 0);
	tell(TRANSACTION, 1, 0); /* it stays refused */
	assert_false(take(TRANSACTION, 72, &whom));
	assert_true(take(TRANSACTION, 72, &whom)); /* forgotten by it */
	session->recipients = 0;
	for (uint32_t i = 0; i < RECIPIENTS_MAX / 50; i++)
		tell(TRANSACTION, 50, 0);
	assert_int_equal(peer.recipients, RECIPIENTS_MAX);
	tell(TRANSACTION, 1, 0);
	assert_int_equal(peer.recipients, 0);
}

static void test_a_channel_has_an_end(void **state)
{
	struct recipients *whom;

	(void)state;
	peer.recipients = SERVICE_RECIPIENTS_MAX - 10;
	tell(TRANSACTION, 10, 0);
	assert_int_equal(peer.recipients, SERVICE_RECIPIENTS_MAX);
	tell(TRANSACTION, 1, 0);
	assert_int_equal(peer.recipients, SERVICE_RECIPIENTS_MAX - 10);
	assert_false(take(TRANSACTION, 11, &whom));
	peer.recipients -= SERVICE_RECIPIENTS_MAX - 10;
}

static void test_of_a_session_that_is_not_there(void **state)
{
	const struct ipc_recipients told = {.session = SESSION + 1, .count = 3};

	(void)state;
	serve_recipients(&peer, TRANSACTION, &told);
	assert_int_equal(peer.recipients, 0);
}

static const struct {
	const char *sender, *domain;
} senders[] = {
	{"alice@Example.ORG", "example.org"},
	{"\"a@b\"@x.test", "x.test"},
	{"", "login.test"},
	{"alice", NULL},
	{"alice@", NULL},
	{"a@b\xc3\xbc.example", "b\xc3\xbc.example"},
	{"a@b\xff.example", NULL}, /* no text of the database */
	{"a@[192.0.2.1]", "[192.0.2.1]"},
};

static void test_the_domain_that_is_sent_as(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof senders / sizeof *senders; i++) {
		session_sends_as(
			session, (const uint8_t *)senders[i].sender, strlen(senders[i].sender));
		if (senders[i].domain == NULL)
			assert_null(session->domain);
		else
			assert_string_equal(session->domain, senders[i].domain);
	}
	session->login_len = 5; /* "alice": no domain either */
	session_sends_as(session, (const uint8_t *)"", 0);
	assert_null(session->domain);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_frames_of_a_take),
		TEST(test_nobody_told_nobody),
		TEST(test_not_as_many_as_the_take_says),
		TEST(test_another_transaction_begins_anew),
		TEST(test_as_many_as_the_account_may_have),
		TEST(test_a_channel_has_an_end),
		TEST(test_of_a_session_that_is_not_there),
		TEST(test_the_domain_that_is_sent_as),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
