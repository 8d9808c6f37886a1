/* SPDX-License-Identifier: ISC */
/*
 * Whole sessions of an account whose meters count octets: what a body exceeds SIZE= by is taken
 * before the end of data, which never leaves where that is refused, comes too late, or nobody is
 * there any more.
 */
#include "tests/unit/session_fixture.h"

#define ENVELOPE "MAIL FROM:<alice@example.test>\r\nRCPT TO:<bob@example.net>\r\n"
#define CONTENT "Subject: x\r\n\r\n0123456789\r\n" /* 26 octets */

static const char UNAVAILABLE[] = "451 4.3.0 Cannot check the account's limits at present; "
				  "try again later\r\n";

/* How a message of 26 octets is sent, by each way that it can take. */
static const struct way {
	const char *name;
	bool chunking;          /* of the server */
	const char *first;      /* everything before the octets that end it */
	const char *first_says; /* the last reply to that */
	const char *last;
} ways[] = {
	{"DATA", false, "DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n", CONTENT ".\r\n"},
	{"BDAT to DATA", false, "BDAT 12\r\nSubject: x\r\n",
		"250 2.0.0 Chunk accepted: 12 octets\r\n", "BDAT 14 LAST\r\n\r\n0123456789\r\n"},
	{"BDAT to BDAT", true, "BDAT 12\r\nSubject: x\r\n",
		"250 2.0.0 Chunk accepted: 12 octets\r\n", "BDAT 14 LAST\r\n\r\n0123456789\r\n"},
};

enum { WAYS = sizeof ways / sizeof *ways, CONTENT_LEN = sizeof CONTENT - 1 };

/* A message up to its end; the reply to that is in client.text. */
static void send_message(const struct way *way)
{
	say(ENVELOPE);
	want_reply("250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n");
	say(way->first);
	want_reply(way->first_says);
	say(way->last);
}

/* Each way with a session of its own. */
static void each_way(void (*run)(const struct way *way))
{
	for (size_t i = 0; i < WAYS; i++) {
		teardown(NULL);
		setup(NULL);
		server.chunking = ways[i].chunking;
		auth.wants = IPC_WANTS_BYTES;
		run(&ways[i]);
	}
}

static void want_no_end(const char *kind_name, enum ipc_outcome_kind kind)
{
	if (server.ends != 0 || auth.intents != 0 || auth.outcomes != 1 ||
		auth.outcome.kind != kind)
		fail_msg("%s: ends %zu, intents %zu, outcomes %zu, the last %d", kind_name,
			server.ends, auth.intents, auth.outcomes, auth.outcome.kind);
	assert_int_equal(server.fd, -1);
}

/* ---------------------------------------------------------------------- granted */

static void granted(const struct way *way)
{
	auth.top_up = 0;
	send_message(way);
	want_reply("");
	assert_int_equal(auth.top_ups, 1);
	assert_int_equal(auth.asked.bytes, CONTENT_LEN);
	assert_int_equal(auth.asked.recipients, 0);
	data_resume(live()); /* the server takes octets again, and there are none */
	turn();
	assert_int_equal(auth.top_ups, 1);
	assert_int_equal(auth.intents, 0);
	assert_int_equal(server.ends, 0);
	tell(IPC_TAKE_VERDICT, IPC_POLICY_OK);
	turn();
	want_reply("250 2.0.0 Ok: queued as TEST1\r\n");
	assert_int_equal(auth.intents, 1);
	assert_int_equal(server.ends, 1);
	assert_int_equal(auth.outcomes, 1);
	assert_int_equal(auth.outcome.kind, IPC_OUTCOME_ACCEPTED);
	assert_int_equal(auth.outcome.bytes, CONTENT_LEN);
}

static void test_the_end_waits_for_the_grant_of_what_was_not_declared(void **state)
{
	(void)state;
	each_way(granted);
}

/* What each intent tells, whichever way its message comes. */
static void intends(const struct way *way)
{
	static const char sender[] = "alice@example.test", backend[] = "192.0.2.1:25";
	struct address from;

	assert_true(address_parse("198.51.100.7:1024", -1, &from));
	struct address_key key = address_prefix(&from, 32, 128);
	send_message(way);
	assert_int_equal(auth.intents, 1);
	assert_int_equal(auth.intent.session, session_id);
	assert_int_equal(auth.intent.bytes, CONTENT_LEN);
	assert_int_equal(auth.intent.recipients, 1);
	assert_int_equal(auth.intent.sender_len, strlen(sender));
	assert_memory_equal(auth.intent.sender, sender, strlen(sender));
	assert_int_equal(auth.intent.backend_len, strlen(backend));
	assert_memory_equal(auth.intent.backend, backend, strlen(backend));
	assert_memory_equal(&auth.intent.client, &key, sizeof key);
}

static void test_an_intent_tells_who_sent_from_where_to_which_server(void **state)
{
	(void)state;
	each_way(intends);
}

/* The longest that there is: 64 octets, @, 255 octets. */
static void test_the_longest_sender_fits_an_intent(void **state)
{
	char sender[IPC_PATH_MAX + 1], line[IPC_PATH_MAX + 64];

	(void)state;
	memset(sender, 'a', IPC_PATH_MAX);
	sender[IPC_PATH_MAX] = '\0';
	sender[64] = '@';
	for (size_t i = 65 + 63; i < IPC_PATH_MAX; i += 64)
		sender[i] = '.';
	snprintf(line, sizeof line, "MAIL FROM:<%s>\r\n", sender);
	say(line);
	want_reply("250 2.0.0 Ok\r\n");
	say("RCPT TO:<bob@example.net>\r\nDATA\r\n");
	say(CONTENT ".\r\n");
	want_reply("250 2.0.0 Ok: queued as TEST1\r\n");
	assert_int_equal(auth.intent.sender_len, IPC_PATH_MAX);
	assert_memory_equal(auth.intent.sender, sender, IPC_PATH_MAX);
}

static void test_what_was_declared_is_not_taken_twice(void **state)
{
	static const struct {
		const char *size;
		uint8_t wants;
		uint64_t more; /* 0: nothing is asked */
	} cases[] = {
		{" SIZE=26", IPC_WANTS_BYTES, 0},
		{" SIZE=27", IPC_WANTS_BYTES, 0},
		{" SIZE=25", IPC_WANTS_BYTES, 1},
		{" SIZE=0", IPC_WANTS_BYTES | IPC_WANTS_RECIPIENTS, 26},
		{"", IPC_WANTS_RECIPIENTS, 0},
		{"", 0, 0},
	};
	char line[128];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		auth.wants = cases[i].wants;
		auth.top_ups = 0;
		snprintf(line, sizeof line,
			"MAIL FROM:<alice@example.test>%s\r\n"
			"RCPT TO:<bob@example.net>\r\nDATA\r\n",
			cases[i].size);
		say(line);
		say(CONTENT ".\r\n");
		want_reply("250 2.0.0 Ok: queued as TEST1\r\n");
		if (auth.top_ups != (cases[i].more != 0) ||
			(cases[i].more != 0 && auth.asked.bytes != cases[i].more))
			fail_msg("case %zu: %zu asked, the last for %llu octets", i, auth.top_ups,
				(unsigned long long)auth.asked.bytes);
	}
}

/* ---------------------------------------------------------------------- refused */

/* Cuts off the id of the transaction, which stands at the end of the reply. */
static void want_id(void)
{
	char want[ID_TEXT_MAX + 16], id[ID_TEXT_MAX];
	int len = snprintf(want, sizeof want, " (id %s)\r\n", id_format(auth.transaction, id));

	assert_true(client.len > (size_t)len);
	char *end = client.text + client.len - len;
	assert_string_equal(end, want);
	*end = '\0';
}

static void refused_by(const struct way *way, enum ipc_policy policy, const char *says)
{
	auth.top_up = policy;
	send_message(way);
	if (policy != IPC_POLICY_UNAVAILABLE)
		want_id();
	want_reply(says);
	want_no_end(way->name, IPC_OUTCOME_ABORTED);
	/* The next one is none the worse for it. */
	auth.top_up = IPC_POLICY_OK;
	send_message(way);
	want_reply("250 2.0.0 Ok: queued as TEST1\r\n");
	assert_int_equal(server.connections, 2);
}

#define RESET "bytes per hour; it frees at 2026-11-18T11:06:40Z"

static void deferred(const struct way *way)
{
	refused_by(way, IPC_POLICY_LIMIT, "450 4.7.1 Limit reached: 3000 " RESET);
}

static void rejected(const struct way *way)
{
	refused_by(way, IPC_POLICY_LIMIT_REJECT, "550 5.7.1 Limit reached; not sent: 3000 " RESET);
}

static void never(const struct way *way)
{
	refused_by(way, IPC_POLICY_LIMIT_NEVER,
		"550 5.7.1 More than the limit itself allows: 3000 bytes per hour");
}

static void unavailable(const struct way *way)
{
	refused_by(way, IPC_POLICY_UNAVAILABLE, UNAVAILABLE);
}

static void test_a_refused_message_never_ends_at_the_server(void **state)
{
	(void)state;
	each_way(deferred);
	each_way(rejected);
	each_way(never);
	each_way(unavailable);
}

static void test_the_log_names_the_meter_and_the_id(void **state)
{
	char want[64], id[ID_TEXT_MAX];

	(void)state;
	auth.wants = IPC_WANTS_BYTES;
	auth.top_up = IPC_POLICY_LIMIT;
	send_message(&ways[0]);
	assert_int_equal(strncmp(client.text, "450 ", 4), 0);
	log_flush();
	const char *line = strstr(logged(), " transaction ");
	snprintf(want, sizeof want, "tid=%s", id_format(auth.transaction, id));
	if (line == NULL || strstr(line, want) == NULL || strstr(line, "code=450") == NULL ||
		strstr(line, "reason=limit meter=\"bytes per hour\"") == NULL)
		fail_msg("got \"%s\"", logged());
}

static const char REVOKED[] = "421 4.7.0 The account was changed or disabled; log in again\r\n";

static void revoked(const struct way *way)
{
	auth.top_up = IPC_POLICY_REVOKED;
	send_message(way);
	want_reply(REVOKED);
	want_no_end(way->name, IPC_OUTCOME_ABORTED);
	assert_null(live());
	assert_true(client.closed);
}

static void revoked_meanwhile(const struct way *way)
{
	const struct ipc_session_revoked frame = {.reason = 1};

	auth.top_up = 0;
	send_message(way);
	assert_true(
		channel_send(auth.channel, IPC_SESSION_REVOKED, session_id, &frame, sizeof frame));
	turn();
	want_reply(""); /* auth's word is awaited even so */
	tell(IPC_TAKE_VERDICT, IPC_POLICY_OK);
	turn();
	want_reply(REVOKED);
	want_no_end(way->name, IPC_OUTCOME_ABORTED);
	assert_null(live());
}

static void test_a_revoked_account_is_told_by_421(void **state)
{
	(void)state;
	each_way(revoked);
	each_way(revoked_meanwhile);
}

/* ------------------------------------------------------------- no answer in time */

static void late(const struct way *way)
{
	auth.top_up = 0;
	auth.holds_outcome = true;
	send_message(way);
	pass_ms(2900);
	want_reply("");
	pass_ms(200);
	want_reply(UNAVAILABLE);
	want_no_end(way->name, IPC_OUTCOME_ABORTED);
	/* The grant comes after all: its transaction has ended, and how has been told. */
	tell(IPC_TAKE_VERDICT, IPC_POLICY_OK);
	turn();
	assert_int_equal(auth.outcomes, 1);
	assert_int_equal(auth_client_unsettled(worker.auth), 1);
	assert_non_null(live());
}

static void test_an_answer_that_comes_too_late(void **state)
{
	(void)state;
	each_way(late);
}

static void auth_dies(const struct way *way)
{
	auth.top_up = 0;
	send_message(way);
	channel_close(&auth.channel);
	turn();
	want_reply(UNAVAILABLE);
	assert_int_equal(server.ends, 0);
	assert_int_equal(server.fd, -1);
	auth_attach();
	turn();
	want_no_end(way->name, IPC_OUTCOME_ABORTED);
	assert_int_equal(auth_client_unsettled(worker.auth), 0);
}

static void test_auth_dies_meanwhile(void **state)
{
	(void)state;
	each_way(auth_dies);
}

/* The take is half an hour old but for a second: no grant is waited for beyond that. */
static void test_the_transaction_ends_while_more_is_asked(void **state)
{
	(void)state;
	config.limits.minimum_rate = 0;
	config.timeouts.data_ms = 3600000;
	config.backends[0].block_ms = config.backends[0].data_ms = 3600000;
	auth.wants = IPC_WANTS_BYTES;
	auth.top_up = 0;
	say(ENVELOPE "DATA\r\n");
	pass_ms(1800000 - 1500);
	assert_non_null(live());
	say(CONTENT ".\r\n");
	assert_int_equal(auth.top_ups, 1);
	pass_ms(1000);
	want_reply("");
	pass_ms(600);
	want_reply(UNAVAILABLE);
	want_no_end("deadline", IPC_OUTCOME_ABORTED);
}

/* ------------------------------------------------------------- somebody is gone */

/* A socket with something unread in it is reset when it is closed: gone, and not only done. */
static void client_lost(const struct way *way)
{
	auth.top_up = 0;
	say(ENVELOPE);
	say(way->first);
	assert_int_equal(
		send(client.fd, way->last, strlen(way->last), MSG_NOSIGNAL), strlen(way->last));
	turn();
	assert_int_equal(auth.top_ups, 1);
	struct session *session = live();
	session_reply(session, REPLY_OK); /* any octets */
	event_base_loop(worker.base, EVLOOP_NONBLOCK);
	close(client.fd);
	client.fd = -1;
	turn();
	assert_null(live());
	want_no_end(way->name, IPC_OUTCOME_ABORTED);
	tell(IPC_TAKE_VERDICT, IPC_POLICY_OK);
	turn();
	assert_int_equal(auth.intents, 0);
	assert_int_equal(auth.outcome.kind, IPC_OUTCOME_ABORTED);
}

static void test_the_client_is_lost_meanwhile(void **state)
{
	(void)state;
	each_way(client_lost);
}

/* It said all that it had to say, and waits for the reply. */
static void half_closed(const struct way *way)
{
	auth.top_up = 0;
	send_message(way);
	assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
	turn();
	tell(IPC_TAKE_VERDICT, IPC_POLICY_OK);
	turn();
	want_reply("250 2.0.0 Ok: queued as TEST1\r\n");
	assert_int_equal(auth.outcome.kind, IPC_OUTCOME_ACCEPTED);
}

static void test_a_client_that_only_ends_its_side_gets_its_reply(void **state)
{
	(void)state;
	each_way(half_closed);
}

static void backend_lost(const struct way *way)
{
	auth.top_up = 0;
	send_message(way);
	close(server.fd);
	server.fd = -1;
	turn();
	want_reply("451 4.4.2 Connection to the mail server behind was lost; try again later\r\n");
	want_no_end(way->name, IPC_OUTCOME_ABORTED);
	tell(IPC_TAKE_VERDICT, IPC_POLICY_OK);
	turn();
	assert_int_equal(auth.intents, 0);
	assert_int_equal(auth.outcome.kind, IPC_OUTCOME_ABORTED);
	assert_non_null(live());
}

static void test_the_server_is_lost_meanwhile(void **state)
{
	(void)state;
	each_way(backend_lost);
}

/* A reply before the end of data is the message's: the server's own words. */
static void answered_early(const struct way *way)
{
	auth.top_up = 0;
	send_message(way);
	server_say("554 5.7.1 Spam\r\n");
	turn();
	if (way->chunking) /* nothing is owed: the connection cannot be trusted */
		want_reply("451 4.4.2 Connection to the mail server behind was lost; "
			   "try again later\r\n");
	else
		want_reply("554 5.7.1 Spam\r\n");
	want_no_end(way->name, way->chunking ? IPC_OUTCOME_ABORTED : IPC_OUTCOME_REFUSED);
	tell(IPC_TAKE_VERDICT, IPC_POLICY_OK);
	turn();
	assert_int_equal(auth.intents, 0);
	assert_int_equal(server.ends, 0);
}

static void test_the_server_answers_before_the_end(void **state)
{
	(void)state;
	each_way(answered_early);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_end_waits_for_the_grant_of_what_was_not_declared),
		TEST(test_an_intent_tells_who_sent_from_where_to_which_server),
		TEST(test_the_longest_sender_fits_an_intent),
		TEST(test_what_was_declared_is_not_taken_twice),
		TEST(test_a_refused_message_never_ends_at_the_server),
		TEST(test_the_log_names_the_meter_and_the_id),
		TEST(test_a_revoked_account_is_told_by_421),
		TEST(test_an_answer_that_comes_too_late),
		TEST(test_auth_dies_meanwhile),
		TEST(test_the_transaction_ends_while_more_is_asked),
		TEST(test_the_client_is_lost_meanwhile),
		TEST(test_a_client_that_only_ends_its_side_gets_its_reply),
		TEST(test_the_server_is_lost_meanwhile),
		TEST(test_the_server_answers_before_the_end),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
