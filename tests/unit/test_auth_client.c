/* SPDX-License-Identifier: ISC */
/*
 * Questions about owners at the proxy's end of the channel to auth: what is asked, whose answer
 * counts, and that each question ends, whatever becomes of auth.
 */
#include "proxy/auth_client.h"

#include "common/channel.h"
#include "common/clock.h"
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

static const struct auth_answers answers = {
	.mail = on_policy, .owner = on_owner, .take = on_policy};

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
	worker.base = event_base_new();
	worker.sessions = idmap_new();
	worker.auth = auth_client_new(&worker, &answers);
	session.id = SESSION;
	session.worker = &worker;
	session.transaction = &transaction;
	transaction.id = TRANSACTION;
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
		TEST(test_a_session_that_ends_meanwhile),
		TEST(test_questions_without_an_answer_are_bounded),
	};

	signal(SIGPIPE, SIG_IGN);
	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
