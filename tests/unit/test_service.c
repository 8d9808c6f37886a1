/* SPDX-License-Identifier: ISC */
/*
 * The service as hostile proxies see it, with no database anywhere: what is not theirs stays
 * closed, trouble is "unavailable", and a broken frame costs its own channel only.  The waits of
 * the database connection and its queue's end are here too.
 */
#include "auth/serve.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/secret.h"
#include "tests/unit/spool_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 5000, QUEUE = 4, SESSION = 77, TRANSACTION = 88, ACCOUNT = 42 };

static struct event_base *base;
static struct service *service;
static struct dsn *dsn;
static struct credential_keys *keys;
static struct spool_files files;
static char spool_directory[] = "/tmp/postern-service-XXXXXX";
static struct config config = {.password = {.memory_bytes = 8 << 20,
				       .passes = 1,
				       .memory_budget_bytes = 64 << 20,
				       .queue = 16,
				       .cache_entries = 16,
				       .cache_ms = 1000},
	.spool = {.size_bytes = 1 << 20, .sync = SPOOL_SYNC_OS}};
static int proxies[2];

static union {
	struct ipc_auth_verdict login;
	struct ipc_policy_verdict policy;
	struct ipc_owner_verdict owner;
	struct ipc_done done;
	struct ipc_session_revoked revoked;
	uint8_t bytes[4096];
} in;

static void spin(void)
{
	const struct timeval step = {0, 1000};

	event_base_loopexit(base, &step);
	event_base_dispatch(base);
}

/* Turns the service's loop until the proxy can read; false: nothing came. */
static bool await(int proxy, unsigned patience_ms)
{
	uint64_t end = clock_monotonic_ms() + patience_ms;
	struct pollfd p = {.fd = proxies[proxy], .events = POLLIN};

	while (poll(&p, 1, 0) == 0 && clock_monotonic_ms() < end)
		spin();
	return poll(&p, 1, 0) == 1;
}

static enum ipc_type receive(int proxy, uint64_t *id)
{
	struct ipc_header header;

	assert_true(await(proxy, PATIENCE_MS));
	ssize_t n = recv(proxies[proxy], &header, sizeof header, MSG_WAITALL);
	if (n == 0)
		return (enum ipc_type)0; /* the channel is closed */
	assert_int_equal(n, sizeof header);
	assert_true(await(proxy, PATIENCE_MS));
	assert_int_equal(recv(proxies[proxy], &in, header.size, MSG_WAITALL), header.size);
	assert_true(ipc_valid((enum ipc_type)header.type, &in));
	*id = header.id;
	return (enum ipc_type)header.type;
}

static void put(int proxy, enum ipc_type type, uint64_t id, const void *payload)
{
	const struct ipc_header header = {.size = (uint32_t)ipc_size(type),
		.version = IPC_VERSION,
		.type = (uint8_t)type,
		.id = id};

	assert_int_equal(send(proxies[proxy], &header, sizeof header, MSG_NOSIGNAL), sizeof header);
	assert_int_equal(send(proxies[proxy], payload, header.size, MSG_NOSIGNAL), header.size);
}

/* One request, one answer of a type. */
static void ask(int proxy, enum ipc_type type, uint64_t id, const void *payload, enum ipc_type want)
{
	uint64_t answered = 0;

	put(proxy, type, id, payload);
	assert_int_equal(receive(proxy, &answered), want);
	assert_int_equal(answered, id);
}

static void attach(int proxy)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	proxies[proxy] = pair[0];
	service_on_channel(service, IPC_PROCESS_PROXY, (unsigned)proxy, pair[1]);
}

static int setup(void **state)
{
	const struct child_start start = {.config = &config, .workers = 2};
	char err[256];

	(void)state;
	base = event_base_new();
	dsn = dsn_resolve("host=/nonexistent user=nobody", false, NULL, err, sizeof err);
	if (base == NULL || dsn == NULL)
		return 1;
	keys = credential_keys_new(config.peppers, 0);
	if (keys == NULL)
		return 1;
	if (!spool_files_open(&files, spool_directory, err, sizeof err))
		return 1;
	service = service_new(base, &start, dsn, keys, &files);
	if (service == NULL)
		return 1;
	attach(0);
	attach(1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(proxies[0]);
	close(proxies[1]);
	service_destroy(&service);
	spool_files_close(&files);
	credential_keys_destroy(&keys);
	dsn_destroy(&dsn);
	event_base_free(base);
	return secret_in_use() != 0;
}

static void test_without_a_database_log_ins_are_unavailable(void **state)
{
	struct ipc_auth_request request = {.mechanism = IPC_MECHANISM_PLAIN,
		.login_len = 5,
		.secret_len = 6,
		.login = "alice",
		.secret = "secret"};

	(void)state;
	for (uint64_t id = 1; id <= 3; id++) {
		ask(0, IPC_AUTH_REQUEST, id, &request, IPC_AUTH_VERDICT);
		assert_int_equal(in.login.result, IPC_AUTH_UNAVAILABLE);
	}
	assert_int_equal(secret_in_use(), 0);
}

static void test_sessions_that_are_not_its_own_are_revoked(void **state)
{
	const struct ipc_mail_request mail = {.session = SESSION};
	const struct ipc_take_request take = {.session = SESSION, .messages = 1, .recipients = 1};
	const struct ipc_owner_request owner = {
		.session = SESSION, .question = 5, .address_len = 5, .address = "a@b.c"};
	struct ipc_session session = {.account = 1, .version = 1, .login_len = 5, .login = "alice"};

	(void)state;
	ask(0, IPC_MAIL_REQUEST, TRANSACTION, &mail, IPC_MAIL_VERDICT);
	assert_int_equal(in.policy.policy, IPC_POLICY_REVOKED);
	ask(0, IPC_TAKE_REQUEST, TRANSACTION, &take, IPC_TAKE_VERDICT);
	assert_int_equal(in.policy.policy, IPC_POLICY_REVOKED);
	ask(0, IPC_OWNER_REQUEST, TRANSACTION, &owner, IPC_OWNER_VERDICT);
	assert_int_equal(in.owner.policy, IPC_POLICY_REVOKED);
	assert_int_equal(in.owner.question, 5);
	/* Announced on one channel, it is nothing on the other; the database is away. */
	put(0, IPC_ATTACH_SESSION, SESSION, &session);
	ask(0, IPC_MAIL_REQUEST, TRANSACTION, &mail, IPC_MAIL_VERDICT);
	assert_int_equal(in.policy.policy, IPC_POLICY_UNAVAILABLE);
	ask(0, IPC_TAKE_REQUEST, TRANSACTION, &take, IPC_TAKE_VERDICT);
	assert_int_equal(in.policy.policy, IPC_POLICY_UNAVAILABLE);
	ask(0, IPC_OWNER_REQUEST, TRANSACTION, &owner, IPC_OWNER_VERDICT);
	assert_int_equal(in.owner.policy, IPC_POLICY_UNAVAILABLE);
	assert_int_equal(in.owner.question, 5);
	ask(1, IPC_MAIL_REQUEST, TRANSACTION, &mail, IPC_MAIL_VERDICT);
	assert_int_equal(in.policy.policy, IPC_POLICY_REVOKED);
	ask(1, IPC_OWNER_REQUEST, TRANSACTION, &owner, IPC_OWNER_VERDICT);
	assert_int_equal(in.owner.policy, IPC_POLICY_REVOKED);
	put(0, IPC_SESSION_END, SESSION, &session);
	ask(0, IPC_MAIL_REQUEST, TRANSACTION, &mail, IPC_MAIL_VERDICT);
	assert_int_equal(in.policy.policy, IPC_POLICY_REVOKED);
	ask(0, IPC_OWNER_REQUEST, TRANSACTION, &owner, IPC_OWNER_VERDICT);
	assert_int_equal(in.owner.policy, IPC_POLICY_REVOKED);
	session.login_len = 0; /* of whom? */
	ask(0, IPC_ATTACH_SESSION, SESSION, &session, IPC_SESSION_REVOKED);
}

static void test_a_refused_take_leaves_nothing_open(void **state)
{
	const struct ipc_session session = {
		.account = 1, .version = 1, .login_len = 5, .login = "alice"};
	const struct ipc_take_request take = {.session = SESSION, .messages = 1, .recipients = 1};
	const struct ipc_intent intent = {.session = SESSION};
	const struct ipc_outcome outcome = {.session = SESSION, .kind = IPC_OUTCOME_REFUSED};

	(void)state;
	put(0, IPC_ATTACH_SESSION, SESSION, &session);
	for (int i = 0; i < 3; i++) {
		ask(0, IPC_TAKE_REQUEST, TRANSACTION, &take, IPC_TAKE_VERDICT);
		assert_int_equal(in.policy.policy, IPC_POLICY_UNAVAILABLE);
	}
	ask(0, IPC_INTENT, TRANSACTION, &intent, IPC_INTENT_DONE);
	assert_int_equal(in.done.ok, 0);
	ask(0, IPC_OUTCOME, TRANSACTION, &outcome, IPC_OUTCOME_DONE);
	assert_int_equal(in.done.ok, 1);
}

static void test_an_announced_take_may_finish(void **state)
{
	const struct ipc_session session = {
		.account = 1, .version = 1, .login_len = 5, .login = "alice"};
	const struct ipc_attach_transaction open = {
		.session = SESSION, .messages = 1, .recipients = 1, .taken = 1};
	const struct ipc_attach_done attached = {.sessions = 1};
	const struct ipc_intent intent = {.session = SESSION};
	const struct ipc_outcome outcome = {.session = SESSION, .kind = IPC_OUTCOME_REFUSED};

	(void)state;
	put(0, IPC_ATTACH_SESSION, SESSION, &session);
	put(0, IPC_ATTACH_TRANSACTION, TRANSACTION, &open);
	put(0, IPC_ATTACH_DONE, 0, &attached);
	ask(1, IPC_INTENT, TRANSACTION, &intent, IPC_INTENT_DONE);
	assert_int_equal(in.done.ok, 0); /* another proxy's */
	ask(0, IPC_INTENT, TRANSACTION, &intent, IPC_INTENT_DONE);
	assert_int_equal(in.done.ok, 1);
	ask(0, IPC_OUTCOME, TRANSACTION, &outcome, IPC_OUTCOME_DONE);
	assert_int_equal(in.done.ok, 1);
}

static void test_a_session_is_announced_before_the_end_of_announcing_only(void **state)
{
	const struct ipc_session session = {
		.account = 1, .version = 1, .login_len = 5, .login = "alice"};
	const struct ipc_attach_done attached = {.sessions = 0};

	(void)state;
	put(0, IPC_ATTACH_DONE, 0, &attached);
	ask(0, IPC_ATTACH_SESSION, SESSION, &session, IPC_SESSION_REVOKED);
}

static void test_a_broken_proxy_loses_its_channel_only(void **state)
{
	static const enum ipc_type foreign[] = {IPC_AUTH_VERDICT, IPC_HASH_REQUEST, IPC_HASH_RESULT,
		IPC_SERVER_STATE, IPC_OUTCOME_DONE, IPC_OWNER_VERDICT, IPC_CONTROL_DRAIN};
	const struct ipc_mail_request mail = {.session = SESSION};
	uint8_t payload[sizeof(struct ipc_auth_request)];
	uint64_t id;

	(void)state;
	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
		memset(payload, 1, sizeof payload);
		put(0, foreign[i], 1, payload);
		assert_int_equal(receive(0, &id), 0);
		close(proxies[0]);
		attach(0);
		ask(0, IPC_MAIL_REQUEST, TRANSACTION, &mail, IPC_MAIL_VERDICT);
		ask(1, IPC_MAIL_REQUEST, TRANSACTION, &mail, IPC_MAIL_VERDICT);
	}
	memset(payload, 0xff, sizeof payload); /* lengths out of bounds */
	put(1, IPC_AUTH_REQUEST, 1, payload);
	assert_int_equal(receive(1, &id), 0);
	ask(0, IPC_MAIL_REQUEST, TRANSACTION, &mail, IPC_MAIL_VERDICT);
}

static void test_a_proxy_that_leaves_with_log_ins_under_way(void **state)
{
	struct ipc_auth_request request = {.mechanism = IPC_MECHANISM_LOGIN,
		.login_len = 5,
		.secret_len = 6,
		.login = "a\r\nb\n", /* no look-up: straight to the hash queue */
		.secret = "secret"};
	const struct ipc_session none = {0};

	(void)state;
	for (uint64_t id = 1; id <= 3; id++)
		put(0, IPC_AUTH_REQUEST, id, &request);
	for (int i = 0; i < 20 && secret_in_use() < 3; i++)
		spin();
	assert_int_equal(secret_in_use(), 3);
	put(0, IPC_AUTH_CANCEL, 2, &none);
	for (int i = 0; i < 20 && secret_in_use() > 2; i++)
		spin();
	assert_int_equal(secret_in_use(), 2);
	close(proxies[0]);
	for (int i = 0; i < 20 && secret_in_use() > 0; i++)
		spin();
	assert_int_equal(secret_in_use(), 0);
	attach(0);
}

/* ---------------------------------------------------- with a database of the test's own */
static struct {
	size_t asked;
	uint64_t ticket;
} lookups;

static bool look_up(void *arg, uint64_t ticket, const uint8_t *login, size_t login_len)
{
	(void)arg;
	(void)login;
	(void)login_len;
	lookups.asked++;
	lookups.ticket = ticket;
	return true;
}

/* Look-ups wait for answer_account(); sender_owned() stays away.  A session is announced. */
static void own_database(void)
{
	const struct row_cache_settings settings = {
		.kind = &account_rows, .entries_max = 100, .bytes_max = 1 << 20, .lookup = look_up};
	const struct ipc_session session = {
		.account = ACCOUNT, .version = 1, .login_len = 5, .login = "alice"};

	memset(&lookups, 0, sizeof lookups);
	live_destroy(&service->live);
	row_cache_destroy(&service->accounts);
	service->accounts = row_cache_new(&settings);
	assert_non_null(service->accounts);
	assert_true(serve_live(service));
	put(0, IPC_ATTACH_SESSION, SESSION, &session);
	for (int i = 0; i < 20 && lookups.asked == 0; i++)
		spin();
	assert_int_equal(lookups.asked, 1);
}

/* Owns alice@x.test, and so many more that are not among the rows. */
static struct account *row_of_alice(uint64_t id, uint32_t more)
{
	static const char sender[] = "a:alice@x.test";
	struct account *account = account_new(sizeof(uint16_t) + sizeof sender - 1);

	assert_non_null(account);
	account->id = id;
	account->version = 1;
	account->enabled = true;
	sender_list_add(&account->senders, sender, sizeof sender - 1);
	account->senders.total = 1 + more;
	return account;
}

static void answer_account(struct account *account)
{
	account_cache_answer(
		service->accounts, lookups.ticket, ROW_KNOWN, account, clock_monotonic_ms());
}

/* What a remembered row refuses is looked up anew before it is refused; the row is the same. */
static void ask_fresh(enum ipc_type type, const void *payload, enum ipc_type want)
{
	size_t asked = lookups.asked;
	uint64_t answered = 0;

	put(0, type, TRANSACTION, payload);
	for (int i = 0; i < 20 && lookups.asked == asked; i++)
		spin();
	assert_true(lookups.asked <= asked + 1);
	if (lookups.asked > asked)
		answer_account(row_of_alice(ACCOUNT, 0));
	assert_int_equal(receive(0, &answered), want);
	assert_int_equal(answered, TRANSACTION);
}

static struct ipc_owner_request question(uint32_t number, const char *address)
{
	struct ipc_owner_request request = {.session = SESSION, .question = number};

	request.address_len = (uint16_t)strlen(address);
	memcpy(request.address, address, request.address_len);
	return request;
}

static void check_owner(const char *address, enum ipc_policy want)
{
	static uint32_t number = 1000;
	struct ipc_owner_request request = question(++number, address);

	ask_fresh(IPC_OWNER_REQUEST, &request, IPC_OWNER_VERDICT);
	if (in.owner.policy != want)
		fail_msg("%s: got %u, want %d", address, in.owner.policy, want);
	assert_int_equal(in.owner.question, number);
}

/* What MAIL would be told of the same address. */
static void check_mail(const char *address, enum ipc_policy want)
{
	struct ipc_mail_request request = {.session = SESSION};

	request.sender_len = (uint16_t)strlen(address);
	memcpy(request.sender, address, request.sender_len);
	ask_fresh(IPC_MAIL_REQUEST, &request, IPC_MAIL_VERDICT);
	if (in.policy.policy != want)
		fail_msg("MAIL %s: got %u, want %d", address, in.policy.policy, want);
}

static const struct {
	const char *address;
	enum ipc_policy want;
} owned[] = {
	{"alice@x.test", IPC_POLICY_OK},
	{"ALICE@X.TEST", IPC_POLICY_OK},
	{"bob@x.test", IPC_POLICY_SENDER},
	{"alice@x.test.", IPC_POLICY_SENDER},
	{"\"alice\"@x.test", IPC_POLICY_SENDER},
	{"alice@y.alice@x.test", IPC_POLICY_SENDER},
	{"alice@x.test\r\n", IPC_POLICY_SENDER},
	{"alice", IPC_POLICY_SENDER},
	{"", IPC_POLICY_SENDER},
};

static void test_an_owner_is_found_as_mail_finds_it(void **state)
{
	(void)state;
	own_database();
	answer_account(row_of_alice(ACCOUNT, 0));
	for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) {
		check_mail(owned[i].address, owned[i].want);
		check_owner(owned[i].address, owned[i].want);
		if (owned[i].want == IPC_POLICY_OK)
			assert_int_equal(lookups.asked, 1); /* the row at hand will do */
	}
}

/* More senders than a look-up brings: what is not among them is for the database, which is away. */
static void test_an_owner_that_only_the_database_knows(void **state)
{
	(void)state;
	own_database();
	answer_account(row_of_alice(ACCOUNT, 32));
	check_owner("alice@x.test", IPC_POLICY_OK);
	check_owner("bob@x.test", IPC_POLICY_UNAVAILABLE);
	check_owner("bob@x.test\n", IPC_POLICY_SENDER);
}

static void test_an_owner_that_was_revoked(void **state)
{
	const struct ipc_owner_request request = question(1, "alice@x.test");
	uint64_t id;

	(void)state;
	own_database();
	put(0, IPC_OWNER_REQUEST, TRANSACTION, &request); /* waits for the same look-up */
	for (int i = 0; i < 20; i++)
		spin();
	answer_account(row_of_alice(ACCOUNT + 1, 0)); /* the login is another account's now */
	assert_int_equal(receive(0, &id), IPC_SESSION_REVOKED);
	assert_int_equal(receive(0, &id), IPC_OWNER_VERDICT);
	assert_int_equal(in.owner.policy, IPC_POLICY_REVOKED);
}

/* Sends count questions; the service reads them meanwhile. */
static void put_questions(size_t count)
{
	const struct ipc_owner_request request = question(7, "alice@x.test");

	for (size_t i = 0; i < count; i++) {
		put(0, IPC_OWNER_REQUEST, i + 1, &request);
		if (i % 64 == 63)
			spin();
	}
}

static void test_questions_without_an_answer_are_bounded(void **state)
{
	uint64_t id;

	(void)state;
	own_database();
	put_questions(SERVICE_REQUESTS_MAX);
	for (int i = 0; i < 20; i++)
		spin();
	assert_false(await(0, 0)); /* all of them wait */
	check_owner("alice@x.test", IPC_POLICY_UNAVAILABLE);
	check_mail("alice@x.test", IPC_POLICY_UNAVAILABLE);
	answer_account(row_of_alice(ACCOUNT, 0));
	for (size_t i = 0; i < SERVICE_REQUESTS_MAX; i++) {
		assert_int_equal(receive(0, &id), IPC_OWNER_VERDICT);
		assert_int_equal(id, i + 1);
		assert_int_equal(in.owner.policy, IPC_POLICY_OK);
		assert_int_equal(in.owner.question, 7);
	}
	check_owner("alice@x.test", IPC_POLICY_OK); /* there is room again */
}

static void test_a_proxy_that_leaves_with_questions_under_way(void **state)
{
	(void)state;
	own_database();
	put_questions(3);
	for (int i = 0; i < 20; i++)
		spin();
	close(proxies[0]);
	for (int i = 0; i < 20; i++)
		spin();
	attach(0);
	answer_account(row_of_alice(ACCOUNT, 0));
	assert_false(await(0, 20)); /* nobody is told */
	check_owner("alice@x.test", IPC_POLICY_REVOKED);
}

static void test_idle_when_the_proxies_are_gone(void **state)
{
	(void)state;
	assert_false(service_is_idle(service, 1000));
	close(proxies[0]);
	close(proxies[1]);
	for (int i = 0; i < 20 && !service_is_idle(service, 1000); i++)
		spin();
	assert_true(service_is_idle(service, 1000));
	attach(0);
	attach(1);
	assert_false(service_is_idle(service, 2000));
}

/* ----------------------------------------------------- the connection itself */
static struct {
	size_t count;
	enum database_result last;
} answers;

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	(void)arg;
	(void)token;
	assert_null(rows);
	answers.count++;
	answers.last = result;
}

static void on_state(bool ready, void *arg)
{
	(void)arg;
	assert_false(ready);
}

static void test_a_database_that_is_away(void **state)
{
	const struct database_settings settings = {
		.name = "test", .dsn = dsn, .queue_max = QUEUE, .on_state = on_state};
	const char *values[] = {"alice"};

	(void)state;
	memset(&answers, 0, sizeof answers);
	struct database *database = database_open(base, &settings);
	assert_non_null(database);
	/* Nothing is known yet: queries wait for the first attempt, as many as fit. */
	for (int i = 0; i < QUEUE; i++)
		assert_true(
			database_query(database, QUERY_ACCOUNT_LOOKUP, values, on_answer, NULL, 0));
	assert_false(database_query(database, QUERY_ACCOUNT_LOOKUP, values, on_answer, NULL, 0));
	assert_int_equal(answers.count, 0); /* never before return */
	for (int i = 0; i < 50 && answers.count < QUEUE; i++)
		spin();
	assert_int_equal(answers.count, QUEUE);
	assert_int_equal(answers.last, DATABASE_UNAVAILABLE);
	/* It is known to be away: nobody waits for a deadline. */
	assert_false(database_query(database, QUERY_ACCOUNT_LOOKUP, values, on_answer, NULL, 0));
	assert_false(database_ready(database));
	database_close(&database);
	assert_int_equal(answers.count, QUEUE);
}

static void test_closing_answers_what_is_out(void **state)
{
	const struct database_settings settings = {
		.name = "test", .dsn = dsn, .queue_max = QUEUE, .on_state = on_state};
	const char *values[] = {"alice"};

	(void)state;
	memset(&answers, 0, sizeof answers);
	struct database *database = database_open(base, &settings);
	assert_true(database_query(database, QUERY_ACCOUNT_LOOKUP, values, on_answer, NULL, 0));
	database_close(&database);
	assert_null(database);
	assert_int_equal(answers.count, 1);
	assert_int_equal(answers.last, DATABASE_UNAVAILABLE);
}

static void test_pauses_double_with_full_jitter(void **state)
{
	unsigned bound = DATABASE_PAUSE_MIN_MS;

	(void)state;
	for (unsigned failures = 0; failures < 40; failures++) {
		assert_int_equal(database_pause_ms(failures, 0), 1);
		assert_int_equal(database_pause_ms(failures, bound - 1), bound);
		assert_int_equal(database_pause_ms(failures, bound), 1);
		assert_true(database_pause_ms(failures, UINT32_MAX) <= DATABASE_PAUSE_MAX_MS);
		bound = 2 * bound < DATABASE_PAUSE_MAX_MS ? 2 * bound : DATABASE_PAUSE_MAX_MS;
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_without_a_database_log_ins_are_unavailable),
		TEST(test_sessions_that_are_not_its_own_are_revoked),
		TEST(test_a_refused_take_leaves_nothing_open),
		TEST(test_an_announced_take_may_finish),
		TEST(test_a_session_is_announced_before_the_end_of_announcing_only),
		TEST(test_a_broken_proxy_loses_its_channel_only),
		TEST(test_a_proxy_that_leaves_with_log_ins_under_way),
		TEST(test_an_owner_is_found_as_mail_finds_it),
		TEST(test_an_owner_that_only_the_database_knows),
		TEST(test_an_owner_that_was_revoked),
		TEST(test_questions_without_an_answer_are_bounded),
		TEST(test_a_proxy_that_leaves_with_questions_under_way),
		TEST(test_idle_when_the_proxies_are_gone),
		TEST(test_a_database_that_is_away),
		TEST(test_closing_answers_what_is_out),
		cmocka_unit_test(test_pauses_double_with_full_jitter),
	};

	signal(SIGPIPE, SIG_IGN);
	if (sodium_init() == -1 || mkdtemp(spool_directory) == NULL || !secret_slab_open(16))
		return 1;
	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	secret_slab_close();
	fixture_remove(spool_directory);
	return failed;
}
