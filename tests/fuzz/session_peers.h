/* SPDX-License-Identifier: ISC */
/*
 * The three whom fuzz_session.c puts around a session: client, auth process (in session_auth.h),
 * backend.  They do what control bytes say, and abort when the session does what it must not: see
 * each function.  Included by fuzz_session.c and session_auth.h alone.
 */
#ifndef TESTS_FUZZ_SESSION_PEERS_H
#define TESTS_FUZZ_SESSION_PEERS_H

#include "common/ipc.h"
#include "proxy/worker.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

enum { BACKENDS_MAX = 12, BUFFER_MAX = 512 * 1024, MESSAGES_MAX = 256, HELD_MAX = 64 };

enum there { AT_GREETING, AT_COMMANDS, AT_BODY };

struct fake_backend {
	int fd; /* -1: closed */
	enum there state;
	size_t len, at; /* octets got, and those looked at */
	size_t chunk;   /* octets of a BDAT that are still to come */
	bool chunk_last;
	bool honest; /* said only what was asked, well formed */
	bool mail;   /* a transaction is open */
	unsigned recipients;
	uint8_t bytes[BUFFER_MAX];
};

struct held { /* an answer of auth's that was put off */
	enum ipc_type type;
	uint64_t id;
	uint32_t question;
	uint64_t bytes; /* of a take */
};

struct message { /* a transaction as auth knows it */
	uint64_t id;
	unsigned wants;      /* enum ipc_wants */
	unsigned recipients; /* told of before its take */
	uint64_t bytes;      /* granted */
	bool asked, granted, topped_up, intended, settled;
};

struct world {
	struct worker worker;
	uint64_t session;
	const uint8_t *control;
	size_t control_at, control_end; /* those not used */
	const uint8_t *octets;
	size_t octets_len, sent;
	int client, auth; /* our ends; auth -1: its channel is dead */
	bool deaf, client_gone;
	bool auth_died;
	struct fake_backend *backends[BACKENDS_MAX];
	size_t backend_count;
	bool lied; /* a backend said what nobody could credit */
	unsigned ends, ends_taken, intents, accepted;
	struct message messages[MESSAGES_MAX];
	size_t message_count;
	struct held held[HELD_MAX];
	size_t held_count;
	size_t frames_len;
	uint8_t frames[64 * 1024];
	size_t replies_len;
	char replies[64 * 1024];
	unsigned reply_code; /* of the reply whose lines are being read; 0: a new one */
};

/* What the peers do comes from the end of the control bytes, what the client does from their
 * beginning: each can change without the other. */
static inline unsigned decide(struct world *world)
{
	return world->control_at < world->control_end ? world->control[--world->control_end] : 0;
}

static inline unsigned decide_client(struct world *world)
{
	return world->control_at < world->control_end ? world->control[world->control_at++] : 0;
}

static void peers_init(
	struct world *world, const uint8_t *control, size_t control_len, size_t octets_len)
{
	memset(world, 0, sizeof *world);
	world->control = control;
	world->control_end = control_len;
	world->octets = control + control_len;
	world->octets_len = octets_len;
	world->client = world->auth = -1;
}

/* -------------------------------------------------------------------------- client */

static void peers_send(struct world *world, size_t len)
{
	size_t left = world->octets_len - world->sent;

	if (len > left)
		len = left;
	ssize_t n = len == 0 ? 0
			     : send(world->client, world->octets + world->sent, len,
				       MSG_DONTWAIT | MSG_NOSIGNAL);
	/* Who is not read any more gives up. */
	world->sent = n == -1 && errno != EAGAIN ? world->octets_len
						 : world->sent + (size_t)(n > 0 ? n : 0);
}

static void peers_send_line(struct world *world)
{
	const uint8_t *from = world->octets + world->sent;
	size_t left = world->octets_len - world->sent;
	const uint8_t *lf = left == 0 ? NULL : memchr(from, '\n', left);

	peers_send(world, lf == NULL ? left : (size_t)(lf - from) + 1);
}

/* Every reply is well formed (RFC 5321 4.2): a code, one for all of its lines, at most 512 octets a
 * line, CRLF, and nothing in it that is no text. */
static void check_reply_line(struct world *world, const char *line, size_t len)
{
	unsigned code = 0;

	CHECK(len >= 5 && len <= 512 && line[len - 2] == '\r');
	for (size_t i = 0; i < len - 2; i++)
		CHECK((uint8_t)line[i] >= ' ' && line[i] != 0x7f);
	for (size_t i = 0; i < 3; i++) {
		CHECK(line[i] >= '0' && line[i] <= '9');
		code = code * 10 + (unsigned)(line[i] - '0');
	}
	CHECK(code >= 200 && code < 600);
	CHECK(line[3] == ' ' || line[3] == '-' || len == 5);
	CHECK(world->reply_code == 0 || world->reply_code == code);
	world->reply_code = line[3] == '-' ? code : 0;
}

static void peers_client(struct world *world)
{
	size_t at = 0;

	if (world->client_gone)
		return;
	ssize_t n = recv(world->client, world->replies + world->replies_len,
		sizeof world->replies - world->replies_len, MSG_DONTWAIT);
	if (n <= 0)
		return;
	world->replies_len += (size_t)n;
	while (at < world->replies_len) {
		char *from = world->replies + at;
		char *lf = memchr(from, '\n', world->replies_len - at);
		if (lf == NULL)
			break;
		check_reply_line(world, from, (size_t)(lf - from) + 1);
		at = (size_t)(lf + 1 - world->replies);
	}
	CHECK(world->replies_len - at < 512);
	memmove(world->replies, world->replies + at, world->replies_len - at);
	world->replies_len -= at;
}

/* ------------------------------------------------------------------------- backend */

static void peers_backend_open(struct world *world, int fd)
{
	struct fake_backend *backend = malloc(sizeof *backend);

	CHECK(backend != NULL);
	memset(backend, 0, offsetof(struct fake_backend, bytes));
	backend->fd = fd;
	backend->honest = true;
	world->backends[world->backend_count++] = backend;
}

static void say(struct world *world, struct fake_backend *backend, const char *bytes, size_t len)
{
	(void)world;
	(void)send(backend->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void hang_up(struct fake_backend *backend)
{
	close(backend->fd);
	backend->fd = -1;
}

/*
 * Answers a step: usual when the control byte is friendly.  Returns the code that was said, 0 when
 * it was none: then the connection is as good as gone, or (lied) nobody can tell what was credited.
 */
static unsigned reply(struct world *world, struct fake_backend *backend, const char *usual)
{
	static const char *const others[] = {"250 2.0.0 other", "251-a\r\n251 b", "354 go",
		"421 4.3.2 bye", "450 later", "451 4.3.0 later", "500 5.5.2 what", "550 5.7.1 no",
		"552-5.3.4 big\r\n552 5.3.4 too", "554 no", "220 hello", "334 ", "299 odd"};
	unsigned choice = decide(world), n = choice % 64;
	char line[256];

	if (n < 32 || n >= 48) {
		const char *text = n < 32 ? usual : others[n % (sizeof others / sizeof *others)];
		int len = snprintf(line, sizeof line, "%s\r\n", text);
		say(world, backend, line, (size_t)len);
		if (choice >= 224) { /* twice */
			say(world, backend, line, (size_t)len);
			backend->honest = false;
			world->lied = true;
		}
		return (unsigned)strtoul(text, NULL, 10);
	}
	if (n < 36) {
		hang_up(backend);
	} else if (n < 44) { /* octets of the control's own */
		size_t len = 0;
		for (unsigned left = decide(world) % 40; left > 0; left--)
			line[len++] = (char)decide(world);
		say(world, backend, line, len);
		backend->honest = false;
		world->lied = true;
	} /* else silence */
	return 0;
}

static bool begins(const char *line, size_t len, const char *with)
{
	return len >= strlen(with) && memcmp(line, with, strlen(with)) == 0;
}

/* What Postern may say to a server, and nothing else: no octet outside of printable ASCII but in
 * SMTPUTF8's addresses, and only commands that it builds. */
static void check_command(const char *line, size_t len)
{
	static const char *const fixed[] = {
		"EHLO submit.example.test", "HELO submit.example.test", "DATA", "RSET", "QUIT"};

	for (size_t i = 0; i < len; i++)
		CHECK((uint8_t)line[i] >= ' ' && line[i] != 0x7f);
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
		if (len == strlen(fixed[i]) && memcmp(line, fixed[i], len) == 0)
			return;
	}
	if (begins(line, len, "BDAT ")) {
		size_t at = strlen("BDAT ");
		CHECK(len > at && isdigit((uint8_t)line[at]));
		while (at < len && isdigit((uint8_t)line[at]))
			at++;
		CHECK(at == len || (len - at == 5 && memcmp(line + at, " LAST", 5) == 0));
		return;
	}
	CHECK(begins(line, len, "MAIL FROM:<") || begins(line, len, "RCPT TO:<"));
	CHECK(memchr(line, '>', len) != NULL);
}

/* The end of data, however it came: whether it was taken. */
static void ended(struct world *world, struct fake_backend *backend)
{
	CHECK(backend->recipients > 0 || !backend->honest || world->lied);
	world->ends++;
	CHECK(world->ends <= world->intents || !backend->honest || world->lied);
	unsigned code = reply(world, backend, "250 2.0.0 Ok: queued as FUZZ1");

	world->ends_taken += code / 100 == 2;
	backend->mail = false;
	backend->recipients = 0;
}

static void on_command(
	struct world *world, struct fake_backend *backend, const char *line, size_t len)
{
	static const char *const hellos[] = {"250-x\r\n250-PIPELINING\r\n250-SIZE "
					     "90000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN"
					     "\r\n250 CHUNKING",
		"250-x\r\n250-PIPELINING\r\n250-SIZE 90000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 "
		"DSN",
		"250-x\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-LIMITS RCPTMAX=2 MAILMAX=2\r\n250 "
		"SIZE 50",
		"250 x"};

	check_command(line, len);
	if (line[0] == 'E')
		reply(world, backend, hellos[decide(world) % 4]);
	else if (line[0] == 'M')
		backend->mail = reply(world, backend, "250 2.1.0 Ok") / 100 == 2;
	else if (line[0] == 'R' && line[1] == 'C')
		backend->recipients += reply(world, backend, "250 2.1.5 Ok") / 100 == 2;
	else if (line[0] == 'R')
		backend->recipients = reply(world, backend, "250 2.0.0 Ok") * 0;
	else if (line[0] == 'D')
		backend->state = reply(world, backend, "354 go") == 354 ? AT_BODY : AT_COMMANDS;
	else if (line[0] == 'Q' && reply(world, backend, "221 2.0.0 Bye") != 0)
		hang_up(backend);
	else if (line[0] == 'H')
		reply(world, backend, "250 x");
	else if (line[0] == 'B') {
		backend->chunk = strtoul(line + 5, NULL, 10);
		backend->chunk_last = len > 5 && line[len - 1] == 'T';
		if (backend->chunk == 0 && backend->chunk_last)
			ended(world, backend);
		else if (backend->chunk == 0)
			reply(world, backend, "250 2.0.0 Ok");
	}
}

/* A body has no bare CR, no bare LF and no NUL, whatever the client sent. */
static void check_body(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		CHECK(bytes[i] != '\0');
		CHECK(bytes[i] != '\n' || (i > 0 && bytes[i - 1] == '\r'));
		CHECK(bytes[i] != '\r' || i + 1 == len || bytes[i + 1] == '\n');
	}
}

/* Takes one thing off what came; false: it is not whole yet. */
static bool body_end(struct world *world, struct fake_backend *backend)
{
	const uint8_t *from = backend->bytes + backend->at;
	size_t len = backend->len - backend->at;
	const uint8_t *end = len >= 3 && memcmp(from, ".\r\n", 3) == 0
				     ? from
				     : memmem(from, len, "\r\n.\r\n", 5);

	if (end == NULL) {
		check_body(from, len);
		if (len > 0 && decide(world) % 64 == 63) { /* a word within the body */
			reply(world, backend, "552 5.3.4 enough");
			backend->honest = false;
			world->lied = true;
		}
		return false;
	}
	size_t whole = (size_t)(end - from) + (end == from ? 3 : 5);
	check_body(from, whole);
	backend->at += whole;
	backend->state = AT_COMMANDS;
	ended(world, backend);
	return true;
}

static bool chunk_end(struct world *world, struct fake_backend *backend)
{
	size_t len = backend->len - backend->at;

	if (len < backend->chunk)
		return false;
	backend->at += backend->chunk;
	backend->chunk = 0;
	if (backend->chunk_last)
		ended(world, backend);
	else
		reply(world, backend, "250 2.0.0 Ok");
	return true;
}

static bool command_end(struct world *world, struct fake_backend *backend)
{
	const char *from = (const char *)backend->bytes + backend->at;
	size_t len = backend->len - backend->at;
	const char *lf = len == 0 ? NULL : memchr(from, '\n', len);

	if (lf == NULL)
		return false;
	CHECK(lf > from && lf[-1] == '\r');
	backend->at += (size_t)(lf - from) + 1;
	on_command(world, backend, from, (size_t)(lf - from) - 1);
	return true;
}

static bool next(struct world *world, struct fake_backend *backend)
{
	if (backend->fd == -1)
		return false;
	/* Behind a lie the two ends need not agree on what is a body. */
	if (backend->chunk > 0)
		return chunk_end(world, backend);
	return backend->state == AT_BODY ? body_end(world, backend) : command_end(world, backend);
}

static void peers_backends(struct world *world)
{
	for (size_t i = 0; i < world->backend_count; i++) {
		struct fake_backend *backend = world->backends[i];

		if (backend->fd == -1)
			continue;
		if (backend->state == AT_GREETING) {
			backend->state = AT_COMMANDS;
			reply(world, backend, "220 fuzz ESMTP");
			if (backend->fd == -1)
				continue;
		}
		ssize_t n = recv(backend->fd, backend->bytes + backend->len,
			BUFFER_MAX - backend->len, MSG_DONTWAIT);
		if (n == 0) {
			hang_up(backend);
			continue;
		}
		if (n > 0)
			backend->len += (size_t)n;
		while (backend->honest && next(world, backend))
			continue;
	}
}

/* ------------------------------------------------------------------------ the end */

static void peers_close(struct world *world)
{
	if (world->auth != -1)
		close(world->auth);
	if (!world->client_gone)
		close(world->client);
	for (size_t i = 0; i < world->backend_count; i++) {
		if (world->backends[i]->fd != -1)
			close(world->backends[i]->fd);
		free(world->backends[i]);
	}
}

#endif
