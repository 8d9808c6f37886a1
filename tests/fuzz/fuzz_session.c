/* SPDX-License-Identifier: ISC */
/*
 * A whole session in memory: the real session, verbs, relay and backend connection in one event
 * loop, over socket pairs; a client, an auth process and a backend that do what the input says.
 *
 * The input: a byte of flags, a byte that counts control bytes, those, and then the client's own
 * octets.  Whenever something is to be decided (how much the client sends, what auth or the backend
 * answers, how much time goes by) the next control byte decides it; where none is left it is 0,
 * which is always the friendly choice.  The client's decisions are taken from the first
 * control byte on, the others' from the last one back.
 *
 * connect() and clock_gettime() are this file's own: a connection is a socket pair, and monotonic
 * time advances at will.  TLS is left out: the session is told that it is there.
 */
#include "common/channel.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"
#include "common/secret.h"
#include "proxy/acceptor.h"
#include "proxy/auth_client.h"
#include "proxy/backend.h"
#include "proxy/door.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"
#include "proxy/transaction.h"
#include "proxy/upstream.h"
#include "tests/fuzz/session_auth.h"
#include "tests/fuzz/session_peers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	FLAG_LOGGED_IN = 1u << 0,
	FLAG_REJECT_ENDINGS = 1u << 1,
	FLAG_FROM_REJECT = 1u << 2,
	FLAG_FROM_REWRITE = 1u << 3,
	FLAG_HALF_CLOSE = 1u << 4, /* at the end; else it closes */
	FLAG_TWO_SERVERS = 1u << 5,
	FLAG_SMALL = 1u << 6, /* message limit of 300 octets */
	FLAG_NOT_READING = 1u << 7,
};

enum {
	ROUNDS_MAX = 400,
	TURNS_A_ROUND = 4,
	LAST_TURNS = 3,
	LAST_ROUNDS = 60, /* after the client has gone: each a minute */
	MINUTE_MS = 60 * 1000,
};

static struct world world;
static struct config config;
static uint64_t time_offset_ms;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ------------------------------------------------------------- what the world gives */

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);

	if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) {
		now->tv_sec += (time_t)(time_offset_ms / 1000);
		now->tv_nsec += (long)(time_offset_ms % 1000) * 1000000;
		if (now->tv_nsec >= 1000000000) {
			now->tv_nsec -= 1000000000;
			now->tv_sec++;
		}
	}
	return result;
}

static void find_login(uint64_t id, void *value, void *arg)
{
	const struct session *session = value;

	(void)id;
	*(bool *)arg |= session->authenticated;
}

/* The socket at hand becomes one end of a pair; the other is a new connection of the backend's. */
int connect(int fd, const struct sockaddr *address, socklen_t len)
{
	bool logged_in = false;
	int fds[2];

	(void)address;
	(void)len;
	/* Nothing that a client does reaches a backend before AUTH succeeded. */
	idmap_each(world.worker.sessions, find_login, &logged_in);
	CHECK(logged_in);
	if (world.backend_count == BACKENDS_MAX || decide(&world) % 16 == 15) {
		errno = ECONNREFUSED;
		return -1;
	}
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(dup2(fds[0], fd) == fd);
	close(fds[0]);
	peers_backend_open(&world, fds[1]);
	return 0;
}

/* ------------------------------------------------------------------------ the house */

static void set_config(unsigned flags)
{
	config.hostname = (char *)(uintptr_t) "submit.example.test";
	config.timeouts =
		(struct config_timeouts){15000, 60000, 300000, 180000, 1800000, 120000, 0};
	config.limits = (struct config_limits_set){
		.recipients = 5,
		.message_bytes = (flags & FLAG_SMALL) != 0 ? 300 : 100000,
		.connections_per_prefix = 10,
		.unauthenticated_per_prefix = 10,
		.unauthenticated = 10,
		.prefix_v4 = 32,
		.prefix_v6 = 64,
		.minimum_rate = 500,
		.errors = 5,
		.login_failures = 3,
		.memory_bytes = 1 << 28,
	};
	config.trace = (struct config_trace){.received = true, .show_client = true};
	config.listener_count = 1;
	config.listeners[0] = (struct config_listen){
		.name = (char *)(uintptr_t) "fuzz",
		.tls = TLS_MODE_STARTTLS,
		.line_endings = (flags & FLAG_REJECT_ENDINGS) != 0 ? LINE_ENDINGS_REJECT
								   : LINE_ENDINGS_NORMALISE,
		.from = (flags & FLAG_FROM_REJECT) != 0    ? IPC_FROM_REJECT
			: (flags & FLAG_FROM_REWRITE) != 0 ? IPC_FROM_REWRITE
							   : IPC_FROM_OFF,
	};
	config.backend_count = 1;
	config.backends[0] = (struct config_backend){
		.name = (char *)(uintptr_t) "fuzz",
		.server_count = (flags & FLAG_TWO_SERVERS) != 0 ? 2 : 1,
		.connect_ms = 10000,
		.greeting_ms = 300000,
		.command_ms = 300000,
		.data_ms = 120000,
		.block_ms = 180000,
		.end_of_data_ms = 600000,
	};
	for (int i = 0; i < 2; i++)
		CHECK(address_parse("192.0.2.1:25", -1, &config.backends[0].servers[i]));
}

static void on_reaper(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	while (world.worker.closed != NULL) {
		struct session *session = world.worker.closed;

		world.worker.closed = session->next_closed;
		free(session);
	}
}

static void build(void)
{
	static const struct child_start start; /* no listeners */
	struct worker *worker = &world.worker;
	static const struct ipc_server_state state = {.up = 1,
		.size = 90000,
		.capabilities = CAPABILITY_PIPELINING | CAPABILITY_8BITMIME | CAPABILITY_SMTPUTF8 |
				CAPABILITY_DSN | CAPABILITY_SIZE | CAPABILITY_CHUNKING |
				CAPABILITY_BINARYMIME | CAPABILITY_EHLO};

	worker->config = &config;
	worker->base = event_base_new();
	worker->sessions = idmap_new();
	worker->upstream = upstream_new(&config);
	worker->auth = auth_client_new(worker, &relay_answers);
	evtimer_assign(&worker->reaper, worker->base, on_reaper, worker);
	worker->acceptor = acceptor_new(worker, &start);
	CHECK(worker->acceptor != NULL && worker->upstream != NULL && worker->auth != NULL);
	upstream_report(worker->upstream, &state);
	peers_auth_open(&world);
}

static void forget(uint64_t id, void *value, void *arg)
{
	(void)id;
	(void)arg;
	session_close(value, "the end");
}

/* Everything that is still there is let go; nothing may be left afterwards. */
static void tear_down(void)
{
	struct worker *worker = &world.worker;

	idmap_each(worker->sessions, forget, NULL);
	for (int i = 0; i < 10 && stream_lingering() > 0; i++) {
		time_offset_ms += STREAM_LINGER_MS;
		event_base_loop(worker->base, EVLOOP_NONBLOCK);
	}
	on_reaper(-1, 0, NULL);
	evtimer_del(&worker->reaper);
	CHECK(idmap_count(worker->sessions) == 0);
	CHECK(stream_lingering() == 0);
	CHECK(backend_count() == 0);
	CHECK(stream_total_queued() == 0);
	CHECK(secret_in_use() == 0);
	acceptor_free(&worker->acceptor);
	auth_client_free(&worker->auth);
	upstream_free(&worker->upstream);
	idmap_destroy(&worker->sessions);
	event_base_free(worker->base);
	peers_close(&world);
}

/* ----------------------------------------------------------------------- one session */

static void turns(void)
{
	for (int i = 0; i < TURNS_A_ROUND; i++) {
		event_base_loop(world.worker.base, EVLOOP_NONBLOCK);
		peers_auth(&world);
		peers_backends(&world);
		if (!world.deaf)
			peers_client(&world);
	}
}

static void log_in(struct session *session)
{
	session->authenticated = true;
	session->login = strdup("alice@example.test");
	CHECK(session->login != NULL);
	session->account = 1;
	counter_add(COUNTER_SESSIONS_AUTHENTICATED, 1);
	acceptor_session_welcome(world.worker.acceptor, session);
}

static void open_session(unsigned flags)
{
	struct session_origin from = {.untold = false};
	int fds[2];

	CHECK(address_parse("198.51.100.7:1024", -1, &from.client));
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	world.client = fds[1];
	struct session *session = session_open(&world.worker, &config.listeners[0], fds[0], &from);
	CHECK(session != NULL);
	session->tls = true;
	world.session = session->id;
	if ((flags & FLAG_LOGGED_IN) != 0)
		log_in(session);
}

/* What the client does next: sends some of its octets, waits, or lets time go by. */
static void act(void)
{
	unsigned choice = decide_client(&world);

	switch (choice % 8) {
	case 0:
		peers_send(&world, SIZE_MAX);
		break;
	case 1:
	case 2:
	case 3:
		peers_send(&world, 1 + choice / 8);
		break;
	case 4: /* a line */
		peers_send_line(&world);
		break;
	case 5:
		time_offset_ms += 10 + (uint64_t)(choice / 8) * 100;
		break;
	case 6:
		time_offset_ms += (uint64_t)(choice / 8) * 10000;
		break;
	case 7:
		if (choice / 8 == 31)
			peers_auth_dies(&world);
		else if (choice / 8 == 30)
			peers_revoke(&world);
		else
			auth_client_tick(world.worker.auth);
		break;
	}
}

static void finish(bool half_close)
{
	if (half_close)
		shutdown(world.client, SHUT_WR);
	else
		close(world.client);
	world.client_gone = !half_close;
	world.deaf = !half_close;
	for (int i = 0; i < LAST_ROUNDS && idmap_count(world.worker.sessions) > 0; i++) {
		turns();
		time_offset_ms += MINUTE_MS;
	}
	turns();
	/* Every wait has a deadline. */
	CHECK(idmap_count(world.worker.sessions) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	unsigned flags = data[0];
	size_t control = data[1] < size - 2 ? data[1] : size - 2;

	peers_init(&world, data + 2, control, size - 2 - control);
	world.deaf = (flags & FLAG_NOT_READING) != 0;
	set_config(flags);
	build();
	open_session(flags);
	turns();
	for (int i = 0; i < ROUNDS_MAX && world.sent < world.octets_len; i++) {
		act();
		turns();
		if (idmap_count(world.worker.sessions) == 0)
			break;
	}
	for (int i = 0; i < LAST_TURNS; i++)
		turns();
	finish((flags & FLAG_HALF_CLOSE) != 0);
	peers_judge(&world);
	tear_down();
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	(void)signal(SIGPIPE, SIG_IGN);
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK(nowhere != -1);
	log_open("fuzz", nowhere, LOG_FORMAT_LOGFMT, LOG_ERROR);
	CHECK(sodium_init() != -1 && secret_slab_open(8));
	return 0;
}
