/* SPDX-License-Identifier: ISC */
/*
 * The three whom fuzz_session.c puts around a session: client, auth process, backend.  They do what
 * control bytes say, and abort when the session does what it must not: see each function.  Included
 * by fuzz_session.c alone.
 */
#ifndef TESTS_FUZZ_SESSION_PEERS_H
#define TESTS_FUZZ_SESSION_PEERS_H

#include "common/ipc.h"
#include "proxy/auth_client.h"
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

/* ---------------------------------------------------------------------------- auth */

static void peers_auth_open(struct world *world)
{
	int fds[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	world->auth = fds[1];
	auth_client_attach(world->worker.auth, fds[0]);
}

/* Its process dies, and another comes. */
static void peers_auth_dies(struct world *world)
{
	world->auth_died = true;
	world->frames_len = world->held_count = 0;
	if (world->auth != -1)
		close(world->auth);
	world->auth = -1;
	if (decide(world) % 4 != 3)
		peers_auth_open(world);
}

static void frame(struct world *world, enum ipc_type type, uint64_t id, const void *payload)
{
	struct ipc_header header = {
		.size = (uint32_t)ipc_size(type), .version = 1, .type = (uint8_t)type, .id = id};
	uint8_t bytes[sizeof header + 2048];

	CHECK(ipc_valid(type, payload) && header.size <= 2048);
	if (world->auth == -1)
		return;
	memcpy(bytes, &header, sizeof header);
	memcpy(bytes + sizeof header, payload, header.size);
	(void)send(world->auth, bytes, sizeof header + header.size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void peers_revoke(struct world *world)
{
	const struct ipc_session_revoked revoked = {.reason = 1};

	frame(world, IPC_SESSION_REVOKED, world->session, &revoked);
}

static void answer_login(struct world *world, uint64_t id, unsigned choice)
{
	struct ipc_auth_verdict verdict = {.account = 1, .version = 1, .result = IPC_AUTH_OK};
	static const char login[] = "alice@example.test";

	if (choice % 8 == 5)
		verdict.result = IPC_AUTH_REFUSED;
	else if (choice % 8 == 6)
		verdict.result = IPC_AUTH_UNAVAILABLE;
	if (verdict.result == IPC_AUTH_OK) {
		verdict.login_len = sizeof login - 1;
		memcpy(verdict.login, login, sizeof login - 1);
		verdict.recipients = choice % 8 == 1 ? 2 : 0;
		verdict.message_bytes = choice % 8 == 2 ? 100 : 0;
		verdict.from_policy = choice % 8 == 3 ? IPC_FROM_REJECT : IPC_FROM_LISTENER;
	}
	frame(world, IPC_AUTH_VERDICT, id, &verdict);
}

/* NULL: there are more than are watched. */
static struct message *find_message(struct world *world, uint64_t id)
{
	for (size_t i = 0; i < world->message_count; i++) {
		if (world->messages[i].id == id)
			return &world->messages[i];
	}
	if (world->message_count == MESSAGES_MAX)
		return NULL;
	struct message *message = &world->messages[world->message_count++];
	message->id = id;
	return message;
}

static void answer_policy(
	struct world *world, enum ipc_type type, const struct held *held, unsigned choice)
{
	static const enum ipc_policy policies[8] = {IPC_POLICY_OK, IPC_POLICY_OK, IPC_POLICY_OK,
		IPC_POLICY_SENDER, IPC_POLICY_LIMIT, IPC_POLICY_LIMIT_NEVER, IPC_POLICY_REVOKED,
		IPC_POLICY_UNAVAILABLE};
	struct ipc_policy_verdict verdict = {.policy = (uint8_t)policies[choice % 8]};
	struct message *message = find_message(world, held->id);

	if (verdict.policy == IPC_POLICY_LIMIT && choice / 8 % 2 == 1)
		verdict.policy = IPC_POLICY_LIMIT_REJECT;
	if (choice % 8 == 4 || choice % 8 == 5) {
		memcpy(verdict.meter, "messages per hour", 17);
		verdict.meter_len = 17;
		verdict.limit = 3;
		verdict.reset_s = 1795000000;
	}
	if (type == IPC_MAIL_VERDICT)
		verdict.wants = choice / 8 % 4;
	if (message != NULL && verdict.policy == IPC_POLICY_OK) {
		message->wants |= verdict.wants;
		message->granted |= type == IPC_TAKE_VERDICT;
		message->bytes += held->bytes;
	}
	frame(world, type, held->id, &verdict);
}

static void answer_intent(struct world *world, uint64_t id, unsigned choice)
{
	const struct ipc_done done = {.ok = choice % 4 != 3};
	struct message *message = find_message(world, id);

	if (message != NULL)
		message->intended |= done.ok;
	world->intents += done.ok;
	frame(world, IPC_INTENT_DONE, id, &done);
}

static void answer(struct world *world, const struct held *held, unsigned choice)
{
	const struct ipc_owner_verdict owner = {.question = held->question,
		.policy = choice % 4 == 3   ? IPC_POLICY_UNAVAILABLE
			  : choice % 4 == 2 ? IPC_POLICY_SENDER
					    : IPC_POLICY_OK};
	const struct ipc_done done = {.ok = choice % 4 != 3};

	switch ((unsigned)held->type) {
	case IPC_AUTH_REQUEST:
		answer_login(world, held->id, choice);
		break;
	case IPC_MAIL_REQUEST:
		answer_policy(world, IPC_MAIL_VERDICT, held, choice);
		break;
	case IPC_OWNER_REQUEST:
		frame(world, IPC_OWNER_VERDICT, held->id, &owner);
		break;
	case IPC_TAKE_REQUEST:
		answer_policy(world, IPC_TAKE_VERDICT, held, choice);
		break;
	case IPC_INTENT:
		answer_intent(world, held->id, choice);
		break;
	case IPC_OUTCOME:
		frame(world, IPC_OUTCOME_DONE, held->id, &done);
		break;
	}
}

/* An outcome must be of a take that was granted, and "accepted" needs an intent that was recorded
 * and a backend that said so. */
static void note_outcome(struct world *world, uint64_t id, const struct ipc_outcome *outcome)
{
	struct message *message = find_message(world, id);

	if (message == NULL)
		return;
	CHECK(message->granted);
	if (message->settled)
		return; /* repeated until it is acknowledged */
	message->settled = true;
	CHECK(message->intended ||
		(outcome->kind != IPC_OUTCOME_ACCEPTED && outcome->kind != IPC_OUTCOME_UNKNOWN));
	world->accepted += outcome->kind == IPC_OUTCOME_ACCEPTED;
	CHECK(world->lied || world->accepted <= world->ends_taken);
}

/* One take a transaction, with its recipients ahead of it where they are wanted; behind its grant
 * one for more octets, where they are. */
static void note_take(struct world *world, uint64_t id, const struct ipc_take_request *request)
{
	struct message *message = find_message(world, id);

	if (message == NULL)
		return;
	if (request->messages == 0) {
		CHECK(request->recipients == 0 && request->bytes > 0);
		CHECK((message->wants & IPC_WANTS_BYTES) != 0);
		CHECK(message->granted && !message->topped_up && !message->intended);
		message->topped_up = true;
		return;
	}
	CHECK(request->messages == 1 && request->recipients > 0 && !message->asked);
	CHECK((message->wants & IPC_WANTS_RECIPIENTS) == 0 ||
		message->recipients == request->recipients);
	message->asked = true;
}

static void note_recipients(
	struct world *world, uint64_t id, const struct ipc_recipients *recipients)
{
	struct message *message = find_message(world, id);

	if (message == NULL)
		return;
	CHECK((message->wants & IPC_WANTS_RECIPIENTS) != 0 && !message->asked);
	message->recipients += recipients->count;
}

/* Nothing is intended that was not taken. */
static void note_intent(struct world *world, uint64_t id, const struct ipc_intent *intent)
{
	const struct message *message = find_message(world, id);

	if (message == NULL)
		return;
	CHECK(message->granted && !message->settled);
	CHECK((message->wants & IPC_WANTS_BYTES) == 0 || intent->bytes <= message->bytes);
}

/* False: it is not answered. */
static bool note(struct world *world, struct held *held, const uint8_t *payload)
{
	union {
		max_align_t align;
		struct ipc_outcome outcome;
		struct ipc_owner_request owner;
		struct ipc_take_request take;
		struct ipc_recipients recipients;
		struct ipc_intent intent;
		uint8_t bytes[2048];
	} copy;

	CHECK(ipc_size(held->type) <= sizeof copy);
	memcpy(&copy, payload, ipc_size(held->type));
	CHECK(ipc_valid(held->type, &copy));
	switch ((unsigned)held->type) {
	case IPC_OUTCOME:
		note_outcome(world, held->id, &copy.outcome);
		break;
	case IPC_OWNER_REQUEST:
		held->question = copy.owner.question;
		break;
	case IPC_TAKE_REQUEST:
		held->bytes = copy.take.bytes;
		note_take(world, held->id, &copy.take);
		break;
	case IPC_RECIPIENTS:
		note_recipients(world, held->id, &copy.recipients);
		return false;
	case IPC_INTENT:
		note_intent(world, held->id, &copy.intent);
		break;
	}
	return true;
}

static void take_frame(struct world *world, const struct ipc_header *header, const uint8_t *payload)
{
	struct held held = {.type = (enum ipc_type)header->type, .id = header->id};

	if (!note(world, &held, payload))
		return;
	unsigned choice = decide(world);
	/* Later, or never; outcomes more often, for a 250 waits for them. */
	unsigned prompt = held.type == IPC_OUTCOME ? 24 : 31;
	if (choice / 8 >= prompt && world->held_count < HELD_MAX)
		world->held[world->held_count++] = held;
	else
		answer(world, &held, choice);
}

static void peers_auth(struct world *world)
{
	size_t at = 0;
	struct ipc_header header;

	if (world->auth == -1)
		return;
	ssize_t n = recv(world->auth, world->frames + world->frames_len,
		sizeof world->frames - world->frames_len, MSG_DONTWAIT);
	if (n > 0)
		world->frames_len += (size_t)n;
	while (world->frames_len - at >= sizeof header) {
		memcpy(&header, world->frames + at, sizeof header);
		CHECK(header.size == ipc_size((enum ipc_type)header.type));
		if (world->frames_len - at < sizeof header + header.size)
			break;
		take_frame(world, &header, world->frames + at + sizeof header);
		at += sizeof header + header.size;
	}
	memmove(world->frames, world->frames + at, world->frames_len - at);
	world->frames_len -= at;
	if (world->held_count > 0 && decide(world) % 4 == 1)
		answer(world, &world->held[--world->held_count], decide(world));
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

/* Every grant was settled: takes granted less takes returned are what the backend has. */
static void peers_judge(struct world *world)
{
	if (world->auth_died)
		return;
	for (size_t i = 0; i < world->message_count; i++)
		CHECK(world->messages[i].settled || !world->messages[i].granted);
}

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
