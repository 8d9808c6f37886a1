/* SPDX-License-Identifier: ISC */
/*
 * For the tests of whole sessions: the real session, verbs, relay and backend connection in one
 * event loop over socket pairs, logged in already; an auth process and a backend that answer as the
 * test says and note what they saw; a clock that is moved by hand.
 */
#ifndef TESTS_UNIT_SESSION_FIXTURE_H
#define TESTS_UNIT_SESSION_FIXTURE_H

#include "common/channel.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/id.h"
#include "common/idmap.h"
#include "common/log.h"
#include "proxy/acceptor.h"
#include "proxy/auth_client.h"
#include "proxy/backend.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"
#include "proxy/transaction.h"
#include "proxy/upstream.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { ACCOUNT = 7, TURNS = 12, TEXT_MAX = 64 * 1024, HASHES_MAX = 512 };

/* What auth answers, and what it was asked; an answer 0 is put off until tell(). */
static struct {
	struct channel *channel;
	uint8_t wants;
	enum ipc_policy mail, take, top_up;
	bool holds_intent, holds_outcome;
	uint64_t transaction; /* of the last MAIL */
	size_t takes, top_ups, intents, outcomes;
	struct ipc_take_request asked; /* the last of both kinds */
	struct ipc_intent intent;
	struct ipc_outcome outcome;
	size_t hash_count;
	uint64_t hashes[HASHES_MAX];
} auth;

static struct {
	int fd; /* -1: none, or it was closed by the proxy */
	bool chunking;
	bool holds_end; /* the reply to the end of data is put off */
	const char *end_reply;
	size_t connections, ends;
	bool in_body;
	size_t chunk; /* octets of a BDAT that are still to come */
	bool chunk_last;
	size_t len;
	char bytes[TEXT_MAX];
} server;

static struct {
	int fd;
	bool closed; /* by the proxy */
	size_t len;
	char text[TEXT_MAX + 1];
} client;

static struct worker worker;
static struct config config;
static uint64_t session_id;
static uint64_t now_ms = 10000000; /* of the monotonic clock */
static int log_fd;

/* ------------------------------------------------------------- what the world gives */

/* Monotonic time goes by in pass_ms() only, however busy the machine is. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, clock, now);
	now->tv_sec = (time_t)(now_ms / 1000);
	now->tv_nsec = (long)(now_ms % 1000) * 1000000;
	return 0;
}

static void server_say(const char *text)
{
	assert_int_equal(send(server.fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

int connect(int fd, const struct sockaddr *address, socklen_t len)
{
	int pair[2];

	(void)address;
	(void)len;
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(dup2(pair[0], fd), fd);
	close(pair[0]);
	if (server.fd != -1)
		close(server.fd);
	server.fd = pair[1];
	server.connections++;
	server.len = server.chunk = 0;
	server.in_body = false;
	server_say("220 backend ESMTP\r\n");
	return 0;
}

/* ----------------------------------------------------------------------- the server */

static void server_end(void)
{
	server.ends++;
	server.in_body = false;
	if (!server.holds_end)
		server_say(server.end_reply);
}

static void server_command(const char *line)
{
	if (strncmp(line, "EHLO ", 5) == 0)
		server_say(server.chunking ? "250-b\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
					   : "250-b\r\n250 PIPELINING\r\n");
	else if (strncmp(line, "RCPT TO:<refused", 16) == 0)
		server_say("550 5.1.1 Unknown\r\n");
	else if (strcmp(line, "DATA") == 0) {
		server.in_body = true;
		server_say("354 Go\r\n");
	} else if (strncmp(line, "BDAT ", 5) == 0) {
		server.chunk = strtoul(line + 5, NULL, 10);
		server.chunk_last = strstr(line, " LAST") != NULL;
		if (server.chunk == 0 && server.chunk_last)
			server_end();
	} else
		server_say("250 2.0.0 Ok\r\n");
}

/* Takes one thing off what came; 0: it is not whole. */
static size_t server_take(void)
{
	server.bytes[server.len] = '\0';
	if (server.chunk > 0) {
		size_t taken = server.chunk < server.len ? server.chunk : server.len;
		server.chunk -= taken;
		if (taken > 0 && server.chunk == 0 && server.chunk_last)
			server_end();
		else if (taken > 0 && server.chunk == 0)
			server_say("250 2.0.0 Ok\r\n");
		return taken;
	}
	const char *end = strstr(server.bytes, server.in_body ? "\r\n.\r\n" : "\r\n");
	if (end == NULL)
		return 0;
	size_t len = (size_t)(end - server.bytes);
	if (server.in_body) {
		server_end();
		return len + 5;
	}
	server.bytes[len] = '\0';
	server_command(server.bytes);
	return len + 2;
}

static void server_turn(void)
{
	size_t taken = 1;

	if (server.fd == -1)
		return;
	ssize_t n = recv(server.fd, server.bytes + server.len, TEXT_MAX - 1 - server.len, 0);
	if (n == 0 || (n == -1 && errno == ECONNRESET)) {
		close(server.fd);
		server.fd = -1;
		return;
	}
	server.len += n > 0 ? (size_t)n : 0;
	while (taken > 0 && server.len > 0) {
		taken = server_take();
		server.len -= taken;
		memmove(server.bytes, server.bytes + taken, server.len);
	}
}

/* --------------------------------------------------------------------------- auth */

static inline void tell(enum ipc_type type, enum ipc_policy policy)
{
	struct ipc_policy_verdict verdict = {.policy = (uint8_t)policy,
		.limit = 3000,
		.reset_s = 1795000000,
		.wants = auth.wants,
		.meter_len = 14,
		.meter = "bytes per hour"};

	if (policy != 0)
		assert_true(channel_send(
			auth.channel, type, auth.transaction, &verdict, sizeof verdict));
}

static inline void tell_done(enum ipc_type type)
{
	const struct ipc_done done = {.ok = 1};

	assert_true(channel_send(auth.channel, type, auth.transaction, &done, sizeof done));
}

static void auth_take(const struct ipc_take_request *request)
{
	bool top_up = request->messages == 0;

	auth.asked = *request;
	auth.takes += !top_up;
	auth.top_ups += top_up;
	tell(IPC_TAKE_VERDICT, top_up ? auth.top_up : auth.take);
}

static void auth_on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	const struct ipc_recipients *recipients = payload;

	(void)channel;
	(void)arg;
	if (type == IPC_MAIL_REQUEST) {
		auth.transaction = id;
		tell(IPC_MAIL_VERDICT, auth.mail);
	} else if (type == IPC_RECIPIENTS) {
		assert_true(auth.hash_count + recipients->count <= HASHES_MAX);
		memcpy(auth.hashes + auth.hash_count, recipients->hash,
			recipients->count * sizeof *recipients->hash);
		auth.hash_count += recipients->count;
	} else if (type == IPC_TAKE_REQUEST) {
		auth_take(payload);
	} else if (type == IPC_INTENT) {
		assert_true(ipc_valid(IPC_INTENT, payload));
		memcpy(&auth.intent, payload, sizeof auth.intent);
		auth.intents++;
		if (!auth.holds_intent)
			tell_done(IPC_INTENT_DONE);
	} else if (type == IPC_OUTCOME) {
		assert_true(ipc_valid(IPC_OUTCOME, payload));
		assert_int_equal(id, auth.transaction);
		memcpy(&auth.outcome, payload, sizeof auth.outcome);
		auth.outcomes++;
		if (!auth.holds_outcome)
			tell_done(IPC_OUTCOME_DONE);
	}
}

static void auth_on_close(struct channel *channel, const char *reason, void *arg)
{
	(void)channel;
	(void)reason;
	(void)arg;
}

static void auth_attach(void)
{
	static const struct channel_events events = {
		.on_frame = auth_on_frame, .on_close = auth_on_close};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	channel_close(&auth.channel);
	auth.channel = channel_open(worker.base, pair[1], &events, NULL);
	assert_non_null(auth.channel);
	auth_client_attach(worker.auth, pair[0]);
}

/* ------------------------------------------------------------------------- the client */

static void client_turn(void)
{
	ssize_t n;

	if (client.fd == -1)
		return;
	n = recv(client.fd, client.text + client.len, TEXT_MAX - client.len, 0);
	client.closed |= n == 0;
	client.len += n > 0 ? (size_t)n : 0;
	client.text[client.len] = '\0';
}

static void turn(void)
{
	for (int i = 0; i < TURNS; i++) {
		event_base_loop(worker.base, EVLOOP_NONBLOCK);
		server_turn();
		client_turn();
	}
}

static inline void pass_ms(uint64_t ms)
{
	now_ms += ms;
	turn();
}

/* Sends, and leaves in client.text what is answered to it. */
static void say(const char *text)
{
	client.len = 0;
	client.text[0] = '\0';
	assert_int_equal(send(client.fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	turn();
}

static inline void want_reply(const char *text)
{
	if (strcmp(client.text, text) != 0)
		fail_msg("got \"%s\", want \"%s\"", client.text, text);
}

/* The session, while it lives. */
static inline struct session *live(void)
{
	return idmap_get(worker.sessions, session_id);
}

/* What was logged so far. */
static inline const char *logged(void)
{
	static char text[TEXT_MAX];
	ssize_t n = pread(log_fd, text, sizeof text - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

/* ------------------------------------------------------------------------ the house */

static void set_config(void)
{
	config = (struct config){
		.hostname = (char *)(uintptr_t) "submit.example.test",
		.timeouts = {15000, 60000, 300000, 180000, 1800000, 120000, 0},
		.limits = {.recipients = 300,
			.message_bytes = 100000,
			.connections_per_prefix = 10,
			.unauthenticated_per_prefix = 10,
			.unauthenticated = 10,
			.prefix_v4 = 32,
			.prefix_v6 = 64,
			.errors = 5,
			.login_failures = 3,
			.memory_bytes = 1 << 28},
		.listener_count = 1,
		.backend_count = 1,
	};
	config.listeners[0] = (struct config_listen){
		.name = (char *)(uintptr_t) "test", .tls = TLS_MODE_STARTTLS, .from = IPC_FROM_OFF};
	config.backends[0] = (struct config_backend){.name = (char *)(uintptr_t) "test",
		.server_count = 1,
		.connect_ms = 10000,
		.greeting_ms = 300000,
		.command_ms = 300000,
		.data_ms = 120000,
		.block_ms = 180000,
		.end_of_data_ms = 600000};
	assert_true(address_parse("192.0.2.1:25", -1, &config.backends[0].servers[0]));
}

static void on_reaper(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	while (worker.closed != NULL) {
		struct session *session = worker.closed;
		worker.closed = session->next_closed;
		free(session);
	}
}

static void build(void)
{
	static const struct child_start start; /* no listeners */
	static const struct ipc_server_state state = {
		.up = 1, .capabilities = CAPABILITY_PIPELINING | CAPABILITY_SIZE | CAPABILITY_EHLO};

	worker.config = &config;
	worker.base = event_base_new();
	worker.sessions = idmap_new();
	worker.upstream = upstream_new(&config);
	worker.auth = auth_client_new(&worker, &relay_answers);
	evtimer_assign(&worker.reaper, worker.base, on_reaper, NULL);
	worker.acceptor = acceptor_new(&worker, &start);
	assert_true(worker.acceptor != NULL && worker.upstream != NULL && worker.auth != NULL);
	upstream_report(worker.upstream, &state);
	auth_attach();
}

static void log_in(void)
{
	struct session_origin from = {.untold = false};
	int pair[2];

	assert_true(address_parse("198.51.100.7:1024", -1, &from.client));
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	client.fd = pair[1];
	struct session *session = session_open(&worker, &config.listeners[0], pair[0], &from);
	assert_non_null(session);
	session_id = session->id;
	session->tls = session->authenticated = true;
	session->login = strdup("alice@example.test");
	session->account = ACCOUNT;
	acceptor_session_welcome(worker.acceptor, session);
	turn();
	say("EHLO client\r\n");
}

static int setup(void **state)
{
	(void)state;
	memset(&worker, 0, sizeof worker);
	memset(&auth, 0, sizeof auth);
	memset(&server, 0, sizeof server);
	memset(&client, 0, sizeof client);
	server.fd = client.fd = -1;
	server.end_reply = "250 2.0.0 Ok: queued as TEST1\r\n";
	auth.mail = auth.take = auth.top_up = IPC_POLICY_OK;
	log_fd = memfd_create("log", MFD_CLOEXEC);
	log_open("test", log_fd, LOG_FORMAT_LOGFMT, LOG_INFO);
	set_config();
	build();
	log_in();
	return 0;
}

static void end_session(uint64_t id, void *value, void *arg)
{
	(void)id;
	(void)arg;
	session_close(value, "the end");
}

static int teardown(void **state)
{
	(void)state;
	idmap_each(worker.sessions, end_session, NULL);
	for (int i = 0; i < 10 && stream_lingering() > 0; i++)
		pass_ms(STREAM_LINGER_MS);
	assert_int_equal(stream_lingering(), 0);
	on_reaper(-1, 0, NULL);
	evtimer_del(&worker.reaper);
	assert_int_equal(stream_total_queued(), 0);
	assert_int_equal(backend_count(), 0);
	channel_close(&auth.channel);
	acceptor_free(&worker.acceptor);
	auth_client_free(&worker.auth);
	upstream_free(&worker.upstream);
	idmap_destroy(&worker.sessions);
	event_base_free(worker.base);
	if (server.fd != -1)
		close(server.fd);
	if (client.fd != -1)
		close(client.fd);
	close(log_fd);
	return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#endif
