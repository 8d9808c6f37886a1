/* SPDX-License-Identifier: ISC */
/*
 * Whole sessions and auth's answers: refusals by policy with their ids, recipients that a take
 * wants to know, and the 250 that waits for its record, but not for long.
 */
#include "proxy/recipient_hash.h"
#include "tests/unit/session_fixture.h"

#define MAIL "MAIL FROM:<alice@example.test>\r\n"
#define RCPT "RCPT TO:<bob@example.net>\r\n"
#define DATA "DATA\r\n"
#define CONTENT "Subject: x\r\n\r\n0123456789\r\n.\r\n"

static const char OK[] = "250 2.0.0 Ok\r\n";
static const char ACCEPTED[] = "250 2.0.0 Ok: queued as TEST1\r\n";

static void send_message(void)
{
	say(MAIL RCPT DATA);
	say(CONTENT);
}

/* -------------------------------------------------------------------- refusals */

static const struct refusal {
	enum ipc_policy policy;
	const char *says, *reason; /* of the log */
} refusals[] = {
	{IPC_POLICY_SENDER,
		"550 5.7.1 Not allowed to send from this address with this account (id %s)\r\n",
		"code=550 reason=sender "},
	{IPC_POLICY_LIMIT,
		"450 4.7.1 Limit reached: 3000 bytes per hour; it frees at 2026-11-18T11:06:40Z "
		"(id %s)\r\n",
		"code=450 reason=limit meter=\"bytes per hour\""},
	{IPC_POLICY_LIMIT_REJECT,
		"550 5.7.1 Limit reached; not sent: 3000 bytes per hour; it frees at "
		"2026-11-18T11:06:40Z (id %s)\r\n",
		"code=550 reason=limit meter=\"bytes per hour\""},
	{IPC_POLICY_LIMIT_NEVER,
		"550 5.7.1 More than the limit itself allows: 3000 bytes per hour (id %s)\r\n",
		"code=550 reason=limit meter=\"bytes per hour\""},
};

enum { REFUSALS = sizeof refusals / sizeof *refusals };

/* The last reply is the refusal, and the log has its id, its reason and its meter. */
static void want_refusal(const struct refusal *refusal)
{
	char id[ID_TEXT_MAX], want[TEXT_MAX], tid[32];
	const char *from = strstr(refusal->says, "%s");

	id_format(auth.transaction, id);
	snprintf(want, sizeof want, "%.*s%s%s", (int)(from - refusal->says), refusal->says, id,
		from + 2);
	assert_true(client.len >= strlen(want));
	assert_string_equal(client.text + client.len - strlen(want), want);
	snprintf(tid, sizeof tid, "tid=%s ", id);
	say("RSET\r\n");
	log_flush();
	const char *line = strstr(logged(), tid);
	if (line == NULL || strstr(line, refusal->reason) == NULL)
		fail_msg("got \"%s\", want %s and %s", logged(), tid, refusal->reason);
}

static void test_mail_is_refused_with_an_id(void **state)
{
	(void)state;
	for (size_t i = 0; i < REFUSALS; i++) {
		auth.mail = refusals[i].policy;
		say(MAIL);
		want_refusal(&refusals[i]);
	}
	assert_int_equal(server.connections, 0);
}

static void test_a_take_is_refused_with_an_id(void **state)
{
	static const char *const commands[] = {DATA, "BDAT 3\r\nabc", "BDAT 0 LAST\r\n"};

	(void)state;
	for (size_t i = 1; i < REFUSALS; i++) {
		for (size_t n = 0; n < sizeof commands / sizeof *commands; n++) {
			auth.take = refusals[i].policy;
			say(MAIL RCPT);
			say(commands[n]);
			want_refusal(&refusals[i]);
			assert_int_equal(auth.outcomes, 0);
		}
	}
	assert_int_equal(server.ends, 0);
}

/* Postern's own rule, and no question to auth: the header has no From field. */
static void test_a_header_is_refused_with_an_id(void **state)
{
	char want[128], id[ID_TEXT_MAX];

	(void)state;
	config.listeners[0].from = IPC_FROM_REJECT;
	send_message();
	snprintf(want, sizeof want,
		"550 5.6.0 Message needs a header with one From: field that can be read (id "
		"%s)\r\n",
		id_format(auth.transaction, id));
	want_reply(want);
	assert_int_equal(server.ends, 0);
	assert_int_equal(auth.outcome.kind, IPC_OUTCOME_ABORTED);
}

/* ------------------------------------------------------------------ recipients */

static uint64_t hash_of(const char *address)
{
	return recipient_hash(ACCOUNT, address, strlen(address));
}

/* All are given at once; the replies come later, and not all are good. */
static void test_a_take_knows_whom_the_server_accepted(void **state)
{
	(void)state;
	auth.wants = IPC_WANTS_RECIPIENTS;
	auth.take = 0;
	say(MAIL "RCPT TO:<refused-1@example.net>\r\nRCPT TO:<Bob@Example.NET>\r\n"
		 "RCPT TO:<refused-2@example.net>\r\nRCPT TO:<nonsense>\r\n"
		 "RCPT TO:<carol@example.net>\r\nRCPT TO:<refused-3@example.net>\r\n");
	assert_true(stream_total_queued() > 0); /* of this worker's memory */
	assert_int_equal(auth.hash_count, 0);
	say(DATA);
	assert_int_equal(auth.takes, 1);
	assert_int_equal(auth.asked.recipients, 2);
	assert_int_equal(auth.hash_count, 2);
	assert_int_equal(auth.hashes[0], hash_of("bob@example.net"));
	assert_int_equal(auth.hashes[1], hash_of("carol@example.net"));
	assert_int_equal(stream_total_queued(), 0);
	tell(IPC_TAKE_VERDICT, IPC_POLICY_OK);
	turn();
	say(CONTENT);
	want_reply(ACCEPTED);
	assert_int_equal(auth.hash_count, 2);
}

/* As many as there may be, by more frames than one; and those beyond are not among them. */
static void test_as_many_recipients_as_there_may_be(void **state)
{
	enum { LIMIT = 300 };

	char line[64];

	(void)state;
	auth.wants = IPC_WANTS_RECIPIENTS;
	say(MAIL);
	for (int i = 0; i < LIMIT + 2; i++) {
		snprintf(line, sizeof line, "RCPT TO:<user-%d@example.net>\r\n", i);
		say(line);
		assert_int_equal(strncmp(client.text, i < LIMIT ? "250 " : "452 ", 4), 0);
	}
	say(DATA);
	assert_int_equal(auth.asked.recipients, LIMIT);
	assert_int_equal(auth.hash_count, LIMIT);
	assert_int_equal(auth.hashes[LIMIT - 1], hash_of("user-299@example.net"));
}

/* Whatever becomes of the transaction; nothing may be left of it (teardown sees to that). */
static void test_recipients_end_with_their_transaction(void **state)
{
	(void)state;
	auth.wants = IPC_WANTS_RECIPIENTS;
	say(MAIL RCPT);
	assert_true(stream_total_queued() > 0);
	say("RSET\r\n");
	assert_int_equal(stream_total_queued(), 0);
	say(MAIL RCPT "BDAT 3\r\nabc");
	assert_int_equal(auth.hash_count, 1);
	say("RSET\r\n");
	say(MAIL RCPT);
	close(server.fd);
	server.fd = -1;
	turn();
	say("RSET\r\n" MAIL RCPT);
	assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
	turn();
	assert_null(live());
	assert_int_equal(stream_total_queued(), 0);
}

static void test_nobody_is_kept_who_is_not_wanted(void **state)
{
	(void)state;
	auth.wants = IPC_WANTS_BYTES;
	say(MAIL RCPT);
	assert_int_equal(stream_total_queued(), 0);
	say(DATA);
	assert_int_equal(auth.takes, 1);
	assert_int_equal(auth.hash_count, 0);
}

/* --------------------------------------------------------- the record of a 250 */

static void test_a_250_comes_with_its_record(void **state)
{
	(void)state;
	auth.holds_outcome = true;
	send_message();
	assert_int_equal(server.ends, 1);
	assert_int_equal(auth.outcomes, 1);
	want_reply("");
	tell_done(IPC_OUTCOME_DONE);
	turn();
	want_reply(ACCEPTED);
	assert_int_equal(auth_client_unsettled(worker.auth), 0);
}

static void test_a_250_waits_250_ms_for_its_record(void **state)
{
	(void)state;
	auth.holds_outcome = true;
	send_message();
	pass_ms(249);
	want_reply("");
	pass_ms(1);
	want_reply(ACCEPTED);
	assert_int_equal(auth_client_unsettled(worker.auth), 1);
	/* The record follows, and is nobody's reply any more. */
	tell_done(IPC_OUTCOME_DONE);
	turn();
	want_reply(ACCEPTED);
	assert_int_equal(auth_client_unsettled(worker.auth), 0);
	say("NOOP\r\n");
	want_reply("250 2.0.0 OK\r\n");
}

static void test_auth_dies_before_the_record(void **state)
{
	(void)state;
	auth.holds_outcome = true;
	send_message();
	want_reply("");
	channel_close(&auth.channel);
	turn();
	want_reply(ACCEPTED);
	assert_int_equal(auth_client_unsettled(worker.auth), 1);
	auth.holds_outcome = false;
	auth_attach();
	turn();
	assert_int_equal(auth.outcomes, 2);
	assert_int_equal(auth.outcome.kind, IPC_OUTCOME_ACCEPTED);
	assert_int_equal(auth.outcome.code, 250);
	assert_memory_equal(auth.outcome.queue_id, "TEST1", 5);
	assert_int_equal(auth_client_unsettled(worker.auth), 0);
}

/* It was dead before the server's reply: the 250 waits for nothing. */
static void test_auth_is_away_at_the_servers_reply(void **state)
{
	(void)state;
	server.holds_end = true;
	send_message();
	channel_close(&auth.channel);
	turn();
	want_reply("");
	server_say(server.end_reply);
	turn();
	want_reply(ACCEPTED);
	auth_attach();
	turn();
	assert_int_equal(auth.outcomes, 1);
	assert_int_equal(auth_client_unsettled(worker.auth), 0);
}

static void test_a_record_that_fails_is_tried_again(void **state)
{
	const struct ipc_done done = {.ok = 0};

	(void)state;
	auth.holds_outcome = true;
	send_message();
	assert_true(
		channel_send(auth.channel, IPC_OUTCOME_DONE, auth.transaction, &done, sizeof done));
	turn();
	want_reply(ACCEPTED);
	assert_int_equal(auth_client_unsettled(worker.auth), 1);
	auth_client_tick(worker.auth);
	turn();
	assert_int_equal(auth.outcomes, 2);
}

static void test_what_is_refused_by_the_server_waits_alike(void **state)
{
	(void)state;
	auth.holds_outcome = true;
	server.end_reply = "554 5.7.1 Spam\r\n";
	send_message();
	want_reply("");
	assert_int_equal(auth.outcome.kind, IPC_OUTCOME_REFUSED);
	pass_ms(250);
	want_reply("554 5.7.1 Spam\r\n");
}

/* The server goes while only the record is awaited: its 250 was said. */
static void test_the_server_is_lost_before_the_record(void **state)
{
	(void)state;
	auth.holds_outcome = true;
	send_message();
	close(server.fd);
	server.fd = -1;
	turn();
	want_reply("");
	pass_ms(250);
	want_reply(ACCEPTED);
	assert_int_equal(auth.outcome.kind, IPC_OUTCOME_ACCEPTED);
	say(MAIL);
	want_reply(OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mail_is_refused_with_an_id),
		TEST(test_a_take_is_refused_with_an_id),
		TEST(test_a_header_is_refused_with_an_id),
		TEST(test_a_take_knows_whom_the_server_accepted),
		TEST(test_as_many_recipients_as_there_may_be),
		TEST(test_recipients_end_with_their_transaction),
		TEST(test_nobody_is_kept_who_is_not_wanted),
		TEST(test_a_250_comes_with_its_record),
		TEST(test_a_250_waits_250_ms_for_its_record),
		TEST(test_auth_dies_before_the_record),
		TEST(test_auth_is_away_at_the_servers_reply),
		TEST(test_a_record_that_fails_is_tried_again),
		TEST(test_what_is_refused_by_the_server_waits_alike),
		TEST(test_the_server_is_lost_before_the_record),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
