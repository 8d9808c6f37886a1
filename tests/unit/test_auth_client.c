/* SPDX-License-Identifier: ISC */
/*
 * Questions about owners, and takes, at the proxy's end of the channel to auth: what is asked,
 * whose answer counts, and that each question ends, whatever becomes of auth.
 */
#include "proxy/auth_client.h"

#include "common/channel.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "proxy/session.h"
#include "proxy/transaction.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SESSION = 7, TRANSACTION = 9, TURNS = 20 };

static const struct config config = {.timeouts = {.transaction_ms = 1800000}};
static struct worker worker;
static struct session session;
static struct transaction transaction;
static struct channel *far; /* auth's end */

static struct {
	size_t count;
	uint64_t id;
	struct ipc_owner_request request;
} asked;

static struct {
	size_t count;
	unsigned policy;
} told;

/* Takes that auth was asked for, with whom it was told of before the last of them. */
static struct {
	size_t count, frames, recipients;
	uint64_t hashes[1000];
	struct ipc_take_request request;
} taken;

static struct {
	size_t takes, top_ups;
	unsigned policy;
} granted;

/* What auth was told of ends. */
static struct {
	size_t count;
	uint64_t id;
	struct ipc_outcome outcome;
} settled;

static void on_owner(struct session *to, const struct ipc_policy_verdict *verdict)
{
	assert_ptr_equal(to, &session);
	assert_int_equal(to->await, AWAIT_NONE);
	assert_int_equal(verdict->meter_len, 0);
	told.count++;
	told.policy = verdict->policy;
}

static void on_policy(struct session *to, const struct ipc_policy_verdict *verdict)
{
	(void)to;
	(void)verdict;
	fail_msg("an answer to what was not asked");
}

static void on_take(struct session *to, const struct ipc_policy_verdict *verdict)
{
	assert_int_equal(to->await, AWAIT_NONE);
	granted.takes++;
	granted.policy = verdict->policy;
}

static void on_top_up(struct session *to, const struct ipc_policy_verdict *verdict)
{
	assert_int_equal(to->await, AWAIT_NONE);
	granted.top_ups++;
	granted.policy = verdict->policy;
}

static const struct auth_answers answers = {
	.mail = on_policy, .owner = on_owner, .take = on_take, .top_up = on_top_up};

static void note_recipients(uint64_t id, const struct ipc_recipients *recipients)
{
	assert_int_equal(id, TRANSACTION);
	assert_int_equal(recipients->session, SESSION);
	assert_true(ipc_valid(IPC_RECIPIENTS, recipients));
	memcpy(taken.hashes + taken.recipients, recipients->hash,
		recipients->count * sizeof *recipients->hash);
	taken.frames++;
	taken.recipients += recipients->count;
}

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	(void)channel;
	(void)arg;
	if (type == IPC_ATTACH_SESSION || type == IPC_ATTACH_TRANSACTION || type == IPC_ATTACH_DONE)
		return;
	if (type == IPC_OUTCOME) {
		settled.count++;
		settled.id = id;
		memcpy(&settled.outcome, payload, sizeof settled.outcome);
		return;
	}
	if (type == IPC_RECIPIENTS) {
		note_recipients(id, payload);
		return;
	}
	if (type == IPC_TAKE_REQUEST) {
		assert_int_equal(id, TRANSACTION);
		taken.count++;
		memcpy(&taken.request, payload, sizeof taken.request);
		return;
	}
	if (type == IPC_INTENT)
		return;
	assert_int_equal(type, IPC_OWNER_REQUEST);
	asked.count++;
	asked.id = id;
	memcpy(&asked.request, payload, sizeof asked.request);
}

static void on_close(struct channel *channel, const char *reason, void *arg)
{
	(void)channel;
	(void)reason;
	(void)arg;
}

static void turn(void)
{
	for (int i = 0; i < TURNS; i++)
		event_base_loop(worker.base, EVLOOP_NONBLOCK);
}

static void attach(void)
{
	static const struct channel_events events = {.on_frame = on_frame, .on_close = on_close};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	channel_close(&far);
	far = channel_open(worker.base, pair[1], &events, NULL);
	assert_non_null(far);
	auth_client_attach(worker.auth, pair[0]);
	turn();
}

/* The deadline is session_end.c's to see; here nothing comes of it. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static int setup(void **state)
{
	(void)state;
	memset(&worker, 0, sizeof worker);
	memset(&session, 0, sizeof session);
	memset(&transaction, 0, sizeof transaction);
	memset(&asked, 0, sizeof asked);
	memset(&told, 0, sizeof told);
	memset(&settled, 0, sizeof settled);
	memset(&taken, 0, sizeof taken);
	memset(&granted, 0, sizeof granted);
	worker.config = &config;
	worker.base = event_base_new();
	worker.sessions = idmap_new();
	worker.auth = auth_client_new(&worker, &answers);
	session.id = SESSION;
	session.worker = &worker;
	session.transaction = &transaction;
	transaction.id = TRANSACTION;
	transaction.taken_ms = clock_monotonic_ms();
	if (worker.base == NULL || worker.sessions == NULL || worker.auth == NULL ||
		evtimer_assign(&session.timer, worker.base, on_timer, NULL) == -1 ||
		!idmap_put(worker.sessions, SESSION, &session) ||
		!auth_client_add(worker.auth, TRANSACTION, &session))
		return -1;
	attach();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	recipient_hashes_free(&transaction.hashes);
	evtimer_del(&session.timer);
	channel_close(&far);
	auth_client_free(&worker.auth);
	idmap_destroy(&worker.sessions);
	event_base_free(worker.base);
	return 0;
}

static bool ask(const char *address, size_t len)
{
	bool sent = auth_client_owner(worker.auth, &session, address, len);

	turn();
	return sent;
}

static void answer(uint64_t id, uint32_t question, enum ipc_policy policy)
{
	const struct ipc_owner_verdict verdict = {.question = question, .policy = (uint8_t)policy};

	assert_true(channel_send(far, IPC_OWNER_VERDICT, id, &verdict, sizeof verdict));
	turn();
}

static void test_a_question_and_its_answer(void **state)
{
	static const enum ipc_policy policies[] = {
		IPC_POLICY_OK, IPC_POLICY_SENDER, IPC_POLICY_REVOKED, IPC_POLICY_UNAVAILABLE};

	(void)state;
	for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
		uint64_t before_ms = clock_monotonic_ms();
		assert_true(ask("alice@x.test", 12));
		assert_int_equal(session.await, AWAIT_OWNER);
		assert_true(session.deadline_ms > before_ms);
		assert_int_equal(asked.count, i + 1);
		assert_int_equal(asked.id, TRANSACTION);
		assert_int_equal(asked.request.session, SESSION);
		assert_int_equal(asked.request.address_len, 12);
		assert_memory_equal(asked.request.address, "alice@x.test", 12);
		assert_int_equal(told.count, i);
		answer(TRANSACTION, asked.request.question, policies[i]);
		assert_int_equal(told.count, i + 1);
		assert_int_equal(told.policy, policies[i]);
	}
}

static void test_an_answer_counts_once_and_for_its_question_only(void **state)
{
	const struct ipc_policy_verdict verdict = {.policy = IPC_POLICY_OK};

	(void)state;
	assert_true(ask("alice@x.test", 12));
	uint32_t first = asked.request.question;
	answer(TRANSACTION + 1, first, IPC_POLICY_OK);
	answer(TRANSACTION, first + 1, IPC_POLICY_OK);
	assert_true(channel_send(far, IPC_MAIL_VERDICT, TRANSACTION, &verdict, sizeof verdict));
	turn();
	assert_int_equal(told.count, 0);
	answer(TRANSACTION, first, IPC_POLICY_SENDER);
	assert_int_equal(told.count, 1);
	answer(TRANSACTION, first, IPC_POLICY_OK);
	assert_int_equal(told.count, 1);
}

/* Its deadline passed, the next address is asked, and then the answer to the first comes. */
static void test_a_late_answer_is_not_the_next_questions(void **state)
{
	(void)state;
	assert_true(ask("alice@x.test", 12));
	uint32_t first = asked.request.question;
	auth_client_expire(worker.auth, &session);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.policy, IPC_POLICY_UNAVAILABLE);
	assert_true(ask("mallory@y.test", 14));
	answer(TRANSACTION, first, IPC_POLICY_OK);
	assert_int_equal(told.count, 1);
	assert_int_equal(session.await, AWAIT_OWNER);
	answer(TRANSACTION, asked.request.question, IPC_POLICY_SENDER);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.policy, IPC_POLICY_SENDER);
}

static void test_an_address_too_long_is_not_asked(void **state)
{
	static char address[IPC_PATH_MAX + 1];

	(void)state;
	memset(address, 'x', sizeof address);
	assert_false(ask(address, sizeof address));
	assert_int_equal(session.await, AWAIT_NONE);
	assert_int_equal(asked.count, 0);
	assert_true(ask(address, IPC_PATH_MAX));
	assert_int_equal(asked.request.address_len, IPC_PATH_MAX);
}

static void test_without_auth_it_is_unavailable(void **state)
{
	(void)state;
	assert_true(ask("alice@x.test", 12));
	channel_close(&far);
	turn();
	assert_int_equal(told.count, 1);
	assert_int_equal(told.policy, IPC_POLICY_UNAVAILABLE);
	assert_false(ask("alice@x.test", 12));
	assert_int_equal(session.await, AWAIT_NONE);
	attach();
	assert_true(ask("alice@x.test", 12));
	answer(TRANSACTION, asked.request.question, IPC_POLICY_OK);
	assert_int_equal(told.count, 2);
}

static void acknowledge(bool ok)
{
	const struct ipc_done done = {.ok = ok};

	assert_true(channel_send(far, IPC_OUTCOME_DONE, TRANSACTION, &done, sizeof done));
	turn();
}

/* It is repeated until auth has recorded it, on whatever channel there is then. */
static void test_an_outcome_is_kept_until_it_is_recorded(void **state)
{
	const struct ipc_outcome outcome = {
		.session = SESSION, .kind = IPC_OUTCOME_REFUSED, .recipients = 3};

	(void)state;
	auth_client_outcome(worker.auth, TRANSACTION, &outcome);
	turn();
	assert_int_equal(settled.count, 1);
	acknowledge(false);
	assert_int_equal(auth_client_unsettled(worker.auth), 1);
	auth_client_tick(worker.auth);
	turn();
	assert_int_equal(settled.count, 2);
	attach();
	assert_int_equal(settled.count, 3);
	assert_int_equal(settled.id, TRANSACTION);
	assert_int_equal(settled.outcome.recipients, 3);
	acknowledge(true);
	assert_int_equal(auth_client_unsettled(worker.auth), 0);
	auth_client_tick(worker.auth);
	attach();
	assert_int_equal(settled.count, 3);
}

static void answer_take(enum ipc_policy policy)
{
	const struct ipc_policy_verdict verdict = {.policy = (uint8_t)policy};

	assert_true(channel_send(far, IPC_TAKE_VERDICT, TRANSACTION, &verdict, sizeof verdict));
	turn();
}

/* More than a frame holds of them, and exactly as many as fill one. */
static void test_recipients_go_ahead_of_their_take(void **state)
{
	static const struct {
		size_t recipients, frames;
	} cases[] = {{0, 0}, {1, 1}, {64, 1}, {65, 2}, {1000, 16}};

	(void)state;
	transaction.mail = (struct mail_arguments){.has_size = true, .size = 4711};
	transaction.accepted = 9;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		memset(&taken, 0, sizeof taken);
		recipient_hashes_free(&transaction.hashes);
		for (size_t n = 0; n < cases[i].recipients; n++) {
			assert_true(recipient_hashes_add(&transaction.hashes, n * 3));
			recipient_hashes_answer(&transaction.hashes, true);
		}
		assert_true(auth_client_take(worker.auth, &session));
		assert_int_equal(session.await, AWAIT_TAKE);
		turn();
		assert_int_equal(taken.count, 1);
		assert_int_equal(taken.frames, cases[i].frames);
		assert_int_equal(taken.recipients, cases[i].recipients);
		for (size_t n = 0; n < cases[i].recipients; n++)
			assert_int_equal(taken.hashes[n], n * 3);
		assert_int_equal(taken.request.messages, 1);
		assert_int_equal(taken.request.recipients, 9);
		assert_int_equal(taken.request.bytes, 4711);
		answer_take(IPC_POLICY_OK);
		assert_int_equal(granted.takes, i + 1);
	}
	assert_int_equal(granted.top_ups, 0);
}

/* A take that cannot be asked sends no recipients either: they would be the next one's. */
static void test_no_recipients_without_room_for_their_take(void **state)
{
	(void)state;
	assert_true(recipient_hashes_add(&transaction.hashes, 1));
	recipient_hashes_answer(&transaction.hashes, true);
	for (size_t i = 0; i < AUTH_CLIENT_REQUESTS; i++) {
		assert_true(auth_client_owner(worker.auth, &session, "a@b.c", 5));
		if (i % 256 == 255)
			turn();
	}
	assert_false(auth_client_take(worker.auth, &session));
	turn();
	assert_int_equal(taken.count, 0);
	assert_int_equal(taken.frames, 0);
}

static void test_octets_besides_the_take(void **state)
{
	(void)state;
	assert_true(recipient_hashes_add(&transaction.hashes, 1));
	recipient_hashes_answer(&transaction.hashes, true);
	assert_true(auth_client_top_up(worker.auth, &session, 1234));
	assert_int_equal(session.await, AWAIT_TOP_UP);
	turn();
	assert_int_equal(taken.count, 1);
	assert_int_equal(taken.frames, 0);
	assert_int_equal(taken.request.session, SESSION);
	assert_int_equal(taken.request.messages, 0);
	assert_int_equal(taken.request.recipients, 0);
	assert_int_equal(taken.request.bytes, 1234);
	answer_take(IPC_POLICY_LIMIT_REJECT);
	assert_int_equal(granted.top_ups, 1);
	assert_int_equal(granted.policy, IPC_POLICY_LIMIT_REJECT);
	answer_take(IPC_POLICY_LIMIT_REJECT);
	assert_int_equal(granted.top_ups, 1);
	assert_int_equal(granted.takes, 0);
	assert_true(auth_client_top_up(worker.auth, &session, 1));
	turn();
	channel_close(&far);
	turn();
	assert_int_equal(granted.top_ups, 2);
	assert_int_equal(granted.policy, IPC_POLICY_UNAVAILABLE);
	assert_false(auth_client_top_up(worker.auth, &session, 1));
}

/* Its session gave up and said so; then the grant comes, before that is acknowledged and after. */
static void test_a_late_grant_of_a_top_up_is_no_second_outcome(void **state)
{
	const struct ipc_outcome outcome = {
		.session = SESSION, .kind = IPC_OUTCOME_ABORTED, .recipients = 3};

	(void)state;
	assert_true(auth_client_top_up(worker.auth, &session, 1234));
	auth_client_outcome(worker.auth, TRANSACTION, &outcome);
	auth_client_forget(worker.auth, &session);
	auth_client_remove(worker.auth, TRANSACTION);
	turn();
	answer_take(IPC_POLICY_OK);
	assert_int_equal(granted.top_ups, 0);
	assert_int_equal(auth_client_unsettled(worker.auth), 1);
	assert_int_equal(settled.outcome.recipients, 3);
	acknowledge(true);
	assert_int_equal(auth_client_unsettled(worker.auth), 0);
	answer_take(IPC_POLICY_OK);
	assert_int_equal(settled.outcome.kind, IPC_OUTCOME_ABORTED);
	acknowledge(true);
	assert_int_equal(auth_client_unsettled(worker.auth), 0);
}

/* A transaction's end is no later for what is asked before it. */
static void test_its_questions_end_with_the_transaction(void **state)
{
	uint64_t end_ms = clock_monotonic_ms() + 500;

	(void)state;
	transaction.taken_ms = end_ms - config.timeouts.transaction_ms;
	assert_true(auth_client_top_up(worker.auth, &session, 1));
	assert_int_equal(session.deadline_ms, end_ms);
	auth_client_expire(worker.auth, &session);
	assert_true(auth_client_intent(worker.auth, &session));
	assert_int_equal(session.deadline_ms, end_ms);
	auth_client_forget(worker.auth, &session);
	transaction.taken_ms = clock_monotonic_ms();
	assert_true(auth_client_intent(worker.auth, &session));
	assert_in_range(session.deadline_ms, end_ms + 1, end_ms + 60000);
}

/* No answer is owed to a session that is gone, and what it asked leaves no place taken. */
static void test_a_session_that_ends_meanwhile(void **state)
{
	(void)state;
	for (size_t i = 0; i < AUTH_CLIENT_REQUESTS + 1; i++) {
		assert_true(auth_client_owner(worker.auth, &session, "a@b.c", 5));
		auth_client_forget(worker.auth, &session);
		if (i % 256 == 255)
			turn();
	}
	turn();
	answer(TRANSACTION, asked.request.question, IPC_POLICY_OK);
	assert_int_equal(told.count, 0);
}

static void test_questions_without_an_answer_are_bounded(void **state)
{
	(void)state;
	/* As if each came from another session: this one's is not settled between them. */
	for (size_t i = 0; i < AUTH_CLIENT_REQUESTS; i++) {
		assert_true(auth_client_owner(worker.auth, &session, "a@b.c", 5));
		if (i % 256 == 255)
			turn();
	}
	turn();
	assert_int_equal(asked.count, AUTH_CLIENT_REQUESTS);
	assert_false(auth_client_owner(worker.auth, &session, "a@b.c", 5));
	turn();
	assert_int_equal(asked.count, AUTH_CLIENT_REQUESTS);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_question_and_its_answer),
		TEST(test_an_answer_counts_once_and_for_its_question_only),
		TEST(test_a_late_answer_is_not_the_next_questions),
		TEST(test_an_address_too_long_is_not_asked),
		TEST(test_without_auth_it_is_unavailable),
		TEST(test_an_outcome_is_kept_until_it_is_recorded),
		TEST(test_recipients_go_ahead_of_their_take),
		TEST(test_no_recipients_without_room_for_their_take),
		TEST(test_octets_besides_the_take),
		TEST(test_a_late_grant_of_a_top_up_is_no_second_outcome),
		TEST(test_its_questions_end_with_the_transaction),
		TEST(test_a_session_that_ends_meanwhile),
		TEST(test_questions_without_an_answer_are_bounded),
	};

	signal(SIGPIPE, SIG_IGN);
	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
