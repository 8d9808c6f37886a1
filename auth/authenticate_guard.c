/* SPDX-License-Identifier: ISC */
/*
 * A log-in and the guard: the question before it begins, and the news of how it ended.
 *
 * The guard is told of each attempt exactly once: refused, logged in, or neither.
 */
#include "auth/login.h"

#include "common/clock.h"

/* Hash processes go round the networks of clients, of this size whatever the guard counts by. */
enum { LANE_V4_BITS = 24, LANE_V6_BITS = 56 };

/* As it is looked up; one that cannot be looked up counts as it came. */
static const uint8_t *name_of(const struct login *login, size_t *len_out)
{
	if (login->verdict.login_len != 0) {
		*len_out = login->verdict.login_len;
		return login->verdict.login;
	}
	*len_out = login->name_len;
	return login->name;
}

enum guard_answer login_guard(struct login *login, uint64_t *delay_ms_out, uint64_t now_ms)
{
	struct guard *guard = login->owner->settings.guard;
	size_t len;
	const uint8_t *name = name_of(login, &len);
	struct guard_decision decision = guard_ask(guard, name, len, &login->client, now_ms);

	*delay_ms_out = decision.delay_ms;
	login->guarded = decision.answer == GUARD_PASS;
	if (login->guarded)
		guard_tag(guard, name, len, login->secret->bytes, login->secret->len, login->tag);
	login->class = guard_knows(guard, name, len, &login->client, now_ms) ? HASH_CLASS_KNOWN
									     : HASH_CLASS_STRANGER;
	return decision.answer;
}

void login_guard_failed(struct login *login)
{
	size_t len;
	const uint8_t *name = name_of(login, &len);

	if (login->guarded)
		guard_failed(login->owner->settings.guard, name, len, &login->client, login->tag,
			clock_monotonic_ms());
	login->guarded = false;
}

void login_guard_succeeded(struct login *login)
{
	size_t len;
	const uint8_t *name = name_of(login, &len);

	if (login->guarded)
		guard_succeeded(login->owner->settings.guard, name, len, &login->client,
			clock_monotonic_ms());
	login->guarded = false;
}

void login_guard_abandoned(struct login *login)
{
	size_t len;
	const uint8_t *name = name_of(login, &len);

	if (login->guarded)
		guard_abandoned(login->owner->settings.guard, name, len, &login->client,
			clock_monotonic_ms());
	login->guarded = false;
}

struct address_key login_network(const struct login *login)
{
	return network_of(&login->client, LANE_V4_BITS, LANE_V6_BITS).key;
}
