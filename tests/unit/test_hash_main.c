/* SPDX-License-Identifier: ISC */
/* A real hash process, confined as in service, with the test as its master and its auth. */
#include "auth/hash_main.h"
#include "auth/password.h"
#include "common/log.h"
#include "tests/unit/password_vectors.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 10000 };

static struct {
	pid_t pid;
	int control, channel;
} child;

static char phc[PASSWORD_PHC_MAX + 1];

static _Noreturn void run_child(int control)
{
	static const struct child_confinement confinement = {.root = false};
	static struct config config;
	const struct child_start start = {.process = IPC_PROCESS_HASH,
		.config = &config,
		.control = control,
		.confinement = &confinement};

	log_open("hash0", STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_ERROR);
	_exit(hash_main(&start));
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, PATIENCE_MS) == 1;
}

static int setup(void **state)
{
	int control[2], channel[2], fd;
	struct ipc_control payload = {.process = IPC_PROCESS_AUTH};
	enum ipc_type type;

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == -1 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == -1)
		return 1;
	child.pid = fork();
	if (child.pid == 0) {
		close(control[0]);
		close(channel[0]);
		close(channel[1]);
		run_child(control[1]);
	}
	close(control[1]);
	child.control = control[0];
	child.channel = channel[0];
	if (!readable(child.control) || control_receive(child.control, &type, &payload, &fd) != 1 ||
		type != IPC_CONTROL_READY || payload.process != IPC_PROCESS_HASH)
		return 1;
	bool sent = control_send(child.control, IPC_CONTROL_CHANNEL, &payload, channel[1]);
	close(channel[1]);
	return !sent;
}

static void close_all(void)
{
	if (child.control != -1)
		close(child.control);
	if (child.channel != -1)
		close(child.channel);
	child.control = child.channel = -1;
}

/* The exit status; the test fails by its patience when the process does not end. */
static int reap(void)
{
	int status = -1;

	alarm(PATIENCE_MS / 1000);
	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	alarm(0);
	child.pid = 0;
	return status;
}

static int teardown(void **state)
{
	(void)state;
	close_all();
	if (child.pid != 0)
		return reap() != 0;
	return 0;
}

static void send_frame(const struct ipc_header *header, const void *payload, size_t len)
{
	assert_int_equal(send(child.channel, header, sizeof *header, MSG_NOSIGNAL), sizeof *header);
	if (len > 0)
		assert_int_equal(send(child.channel, payload, len, MSG_NOSIGNAL), len);
}

static struct ipc_hash_request request_of(const char *hash, const char *secret)
{
	struct ipc_hash_request request;

	memset(&request, 0, sizeof request);
	request.phc_len = (uint16_t)strlen(hash);
	memcpy(request.phc, hash, request.phc_len);
	request.secret_len = (uint16_t)strlen(secret);
	memcpy(request.secret, secret, request.secret_len);
	return request;
}

static void exchange(
	uint64_t id, const struct ipc_hash_request *request, struct ipc_hash_result *result)
{
	const struct ipc_header header = {.size = sizeof *request,
		.version = IPC_VERSION,
		.type = IPC_HASH_REQUEST,
		.id = id};
	struct ipc_header got;

	send_frame(&header, request, sizeof *request);
	assert_true(readable(child.channel));
	assert_int_equal(recv(child.channel, &got, sizeof got, MSG_WAITALL), sizeof got);
	assert_int_equal(recv(child.channel, result, sizeof *result, MSG_WAITALL), sizeof *result);
	assert_int_equal(got.type, IPC_HASH_RESULT);
	assert_int_equal(got.id, id);
	assert_true(ipc_valid(IPC_HASH_RESULT, result));
}

static enum ipc_hash_outcome ask(uint64_t id, const char *hash, const char *secret)
{
	const struct ipc_hash_request request = request_of(hash, secret);
	struct ipc_hash_result result;

	exchange(id, &request, &result);
	return (enum ipc_hash_outcome)result.outcome;
}

static void test_verifies_one_after_the_other(void **state)
{
	char dummy[PASSWORD_PHC_MAX + 1];
	const struct password_cost cost = {1 << 20, 1};

	(void)state;
	assert_int_equal(ask(1, phc, "secret"), IPC_HASH_MATCH);
	assert_int_equal(ask(2, phc, "Secret"), IPC_HASH_MISMATCH);
	assert_int_equal(ask(3, phc, ""), IPC_HASH_MISMATCH);
	assert_true(password_make_dummy(&cost, dummy));
	assert_int_equal(ask(4, dummy, "secret"), IPC_HASH_MISMATCH);
	assert_int_equal(ask(UINT64_MAX, phc, "secret"), IPC_HASH_MATCH);
}

static void test_what_auth_should_not_have_sent_fails_and_costs_nothing(void **state)
{
	(void)state;
	assert_int_equal(ask(1, "x", "secret"), IPC_HASH_FAILED);
	assert_int_equal(ask(2, "$2b$12$abcdefghijklmnopqrstuv", "secret"), IPC_HASH_FAILED);
	assert_int_equal(ask(3,
				 "$argon2id$v=19$m=4194304,t=4294967295,p=1$AAECAwQFBgcICQoLDA0ODw$"
				 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
				 "secret"),
		IPC_HASH_FAILED);
	assert_int_equal(ask(4, phc, "secret"), IPC_HASH_MATCH);
}

/* The filter lets libcrypt and OpenSSL do what they do; a call too many would end the process. */
static void test_verifies_every_scheme_in_its_sandbox(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		if (ask(i, vectors[i].hash, vectors[i].secret) != IPC_HASH_MATCH)
			fail_msg("%s does not match", vectors[i].hash);
	}
	assert_int_equal(ask(1, "$2b$12$", "secret"), IPC_HASH_FAILED);
}

static void test_makes_hashes_at_the_cost_that_is_asked_for(void **state)
{
	struct ipc_hash_request request = request_of("", "secret");
	struct ipc_hash_result result;
	struct password_hash made;
	char text[PASSWORD_PHC_MAX + 1];

	(void)state;
	request.memory_bytes = 2 << 20;
	request.passes = 3;
	exchange(1, &request, &result);
	assert_int_equal(result.outcome, IPC_HASH_MADE);
	assert_int_equal(
		password_parse((const char *)result.phc, result.phc_len, &made), PASSWORD_PARSED);
	assert_int_equal(made.cost.memory_bytes, 2 << 20);
	assert_int_equal(made.cost.passes, 3);
	memcpy(text, result.phc, result.phc_len);
	text[result.phc_len] = '\0';
	assert_int_equal(ask(2, text, "secret"), IPC_HASH_MATCH);
	assert_int_equal(ask(3, text, "Secret"), IPC_HASH_MISMATCH);
	request.passes = PASSWORD_PASSES_MAX + 1;
	exchange(4, &request, &result);
	assert_int_equal(result.outcome, IPC_HASH_FAILED);
	request.passes = 1;
	request.memory_bytes = UINT64_MAX;
	exchange(5, &request, &result);
	assert_int_equal(result.outcome, IPC_HASH_FAILED);
}

static void test_runs_at_the_lowest_priority(void **state)
{
	(void)state;
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)child.pid), 19);
}

static void test_bad_frames_end_it(void **state)
{
	static const struct ipc_header bad[] = {
		{.size = sizeof(struct ipc_hash_request), .version = 99, .type = IPC_HASH_REQUEST},
		{.size = sizeof(struct ipc_hash_request),
			.version = IPC_VERSION,
			.type = IPC_HASH_RESULT},
		{.size = 1, .version = IPC_VERSION, .type = IPC_HASH_REQUEST},
		{.size = UINT32_MAX, .version = IPC_VERSION, .type = IPC_HASH_REQUEST},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		send_frame(&bad[i], NULL, 0);
		assert_int_equal(reap(), 0);
		close_all();
		assert_int_equal(setup(state), 0);
	}
	struct ipc_hash_request lies = request_of(phc, "secret");
	const struct ipc_header header = {
		.size = sizeof lies, .version = IPC_VERSION, .type = IPC_HASH_REQUEST};
	lies.secret_len = IPC_SECRET_MAX + 1;
	send_frame(&header, &lies, sizeof lies);
	assert_int_equal(reap(), 0);
	close_all();
	assert_int_equal(setup(state), 0);
	lies = request_of("", "secret"); /* neither a stored hash nor what a new one is to cost */
	send_frame(&header, &lies, sizeof lies);
	assert_int_equal(reap(), 0);
}

static void test_outlives_auth_and_serves_the_next(void **state)
{
	int channel[2];
	const struct ipc_control payload = {.process = IPC_PROCESS_AUTH};

	(void)state;
	assert_int_equal(ask(1, phc, "secret"), IPC_HASH_MATCH);
	close(child.channel);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), 0);
	child.channel = channel[0];
	assert_true(control_send(child.control, IPC_CONTROL_CHANNEL, &payload, channel[1]));
	close(channel[1]);
	assert_int_equal(ask(2, phc, "secret"), IPC_HASH_MATCH);
}

static void test_ends_with_its_master(void **state)
{
	(void)state;
	close(child.control);
	child.control = -1;
	assert_int_equal(reap(), 0);
}

static void test_drains_until_auth_is_done(void **state)
{
	const struct ipc_control payload = {.process = IPC_PROCESS_HASH};

	(void)state;
	assert_int_equal(ask(1, phc, "secret"), IPC_HASH_MATCH); /* it has the channel */
	assert_true(control_send(child.control, IPC_CONTROL_DRAIN, &payload, -1));
	assert_int_equal(kill(child.pid, SIGTERM), 0);
	assert_int_equal(ask(2, phc, "secret"), IPC_HASH_MATCH);
	close(child.channel);
	child.channel = -1;
	assert_int_equal(reap(), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct password_cost cost = {1 << 20, 1};
	const struct CMUnitTest tests[] = {
		TEST(test_verifies_one_after_the_other),
		TEST(test_what_auth_should_not_have_sent_fails_and_costs_nothing),
		TEST(test_verifies_every_scheme_in_its_sandbox),
		TEST(test_makes_hashes_at_the_cost_that_is_asked_for),
		TEST(test_runs_at_the_lowest_priority),
		TEST(test_bad_frames_end_it),
		TEST(test_outlives_auth_and_serves_the_next),
		TEST(test_ends_with_its_master),
		TEST(test_drains_until_auth_is_done),
	};

	if (sodium_init() == -1 || !password_make((const uint8_t *)"secret", 6, &cost, phc))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
