/* SPDX-License-Identifier: ISC */
/*
 * The auth process of fuzz_session.c: answers, at once, later or never, as control bytes say, and
 * aborts when it is asked or told what it must not be.  Included by fuzz_session.c alone.
 */
#ifndef TESTS_FUZZ_SESSION_AUTH_H
#define TESTS_FUZZ_SESSION_AUTH_H

#include "common/ipc.h"
#include "proxy/auth_client.h"
#include "tests/fuzz/session_peers.h"

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

/* Every grant was settled: takes granted less takes returned are what the backend has. */
static void peers_judge(struct world *world)
{
	if (world->auth_died)
		return;
	for (size_t i = 0; i < world->message_count; i++)
		CHECK(world->messages[i].settled || !world->messages[i].granted);
}

#endif
