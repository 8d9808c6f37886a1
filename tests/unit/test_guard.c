/* SPDX-License-Identifier: ISC */
/*
 * The guard's rules with the time passed in: each count, its pace and its end; repeats; the owner's
 * own budget; blocks; what is kept; and a seeded model in which strangers do what they like.
 *
 * Long: a rule after the other over one fixture, read by name.
 */
#include "auth/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { S = 1000, M = 60 * S, H = 60 * M };

static struct config_guard standard(void)
{
	return (struct config_guard){
		.enabled = true,
		.prefix_v4 = 32,
		.prefix_v6 = 64,
		.guesses = 10,
		.guesses_known = 30,
		.guesses_account = 50,
		.guesses_network = 50,
		.names_network = 20,
		.forgive_ms = 5 * M,
		.block_ms = 15 * M,
		.block_max_ms = 24 * H,
		.remember_ms = 720u * H,
	};
}

/* A guard, its clock, and the last block that it told of. */
struct rig {
	struct config_guard config;
	struct guard *guard;
	uint64_t now;
	unsigned blocks;
	struct network blocked;
	uint64_t block_ms;
	char reason[32];
};

static void on_block(const struct network *network, uint64_t for_ms, const char *reason, void *arg)
{
	struct rig *rig = arg;

	rig->blocks++;
	rig->blocked = *network;
	rig->block_ms = for_ms;
	snprintf(rig->reason, sizeof rig->reason, "%s", reason);
}

static struct guard *guard_of(struct rig *rig, const struct guard_capacity *capacity)
{
	struct guard_settings settings = {.config = &rig->config, .on_block = on_block, .arg = rig};

	if (capacity != NULL)
		settings.capacity = *capacity;
	struct guard *guard = guard_new(&settings);
	assert_non_null(guard);
	return guard;
}

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);

	assert_non_null(rig);
	rig->config = standard();
	rig->now = 7 * S; /* a machine that was just started */
	rig->guard = guard_of(rig, NULL);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	guard_destroy(&rig->guard);
	assert_null(rig->guard);
	free(rig);
	return 0;
}

static struct address_key at(const char *text)
{
	struct address address;

	assert_true(address_parse(text, 0, &address));
	return address_prefix(&address, 32, 128);
}

/* 10.x.y.z, for many of them */
static struct address_key nth(unsigned n)
{
	struct address_key key = {{[10] = 0xff, [11] = 0xff, [12] = 10}};

	key.bytes[13] = (uint8_t)(n >> 16);
	key.bytes[14] = (uint8_t)(n >> 8);
	key.bytes[15] = (uint8_t)n;
	return key;
}

static struct guard_decision ask(struct rig *rig, const char *login, struct address_key client)
{
	return guard_ask(rig->guard, (const uint8_t *)login, strlen(login), &client, rig->now);
}

static void fail_with(
	struct rig *rig, const char *login, struct address_key client, const char *secret)
{
	uint8_t tag[GUARD_TAG_BYTES];

	guard_tag(rig->guard, (const uint8_t *)login, strlen(login), (const uint8_t *)secret,
		strlen(secret), tag);
	guard_failed(rig->guard, (const uint8_t *)login, strlen(login), &client, tag, rig->now);
}

static void succeed(struct rig *rig, const char *login, struct address_key client)
{
	guard_succeeded(rig->guard, (const uint8_t *)login, strlen(login), &client, rig->now);
}

static bool knows(struct rig *rig, const char *login, struct address_key client)
{
	return guard_knows(rig->guard, (const uint8_t *)login, strlen(login), &client, rig->now);
}

/* One whole attempt with a wrong secret of its own: the decision it met. */
static struct guard_decision guess(
	struct rig *rig, const char *login, struct address_key client, unsigned number)
{
	struct guard_decision decision = ask(rig, login, client);
	char secret[32];

	snprintf(secret, sizeof secret, "guess-%u", number);
	if (decision.answer == GUARD_PASS)
		fail_with(rig, login, client, secret);
	return decision;
}

/* How many of so many guesses were let through. */
static unsigned guesses(struct rig *rig, const char *login, struct address_key client,
	unsigned first, unsigned count)
{
	unsigned passed = 0;

	for (unsigned i = 0; i < count; i++)
		passed += guess(rig, login, client, first + i).answer == GUARD_PASS;
	return passed;
}

static enum guard_answer answer(struct rig *rig, const char *login, struct address_key client)
{
	struct guard_decision decision = ask(rig, login, client);

	if (decision.answer == GUARD_PASS)
		guard_abandoned(
			rig->guard, (const uint8_t *)login, strlen(login), &client, rig->now);
	return decision.answer;
}

/* ----------------------------------------------------------------- one pair */
static void test_delays_grow_then_a_hold(void **state)
{
	static const uint64_t want[] = {0, 0, 1000, 2000, 4000, 5000, 5000, 5000, 5000, 5000};
	struct rig *rig = *state;

	for (unsigned i = 0; i < 10; i++) {
		struct guard_decision got = guess(rig, "alice", at("192.0.2.1"), i);
		assert_int_equal(got.answer, GUARD_PASS);
		assert_int_equal(got.delay_ms, want[i]);
		assert_true(got.delay_ms <= GUARD_DELAY_MAX_MS);
	}
	struct guard_decision got = guess(rig, "alice", at("192.0.2.1"), 10);
	assert_int_equal(got.answer, GUARD_HOLD);
	assert_int_equal(got.delay_ms, 0);
}

static void test_a_hold_ends_by_itself(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(guesses(rig, "alice", at("192.0.2.1"), 0, 12), 10);
	rig->now += 5 * M - 1;
	assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_HOLD);
	rig->now += 1;
	assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_PASS);
	/* One more, and not a new ten. */
	assert_int_equal(guesses(rig, "alice", at("192.0.2.1"), 20, 5), 1);
	rig->now += 50 * M;
	struct guard_decision got = ask(rig, "alice", at("192.0.2.1"));
	assert_int_equal(got.answer, GUARD_PASS);
	assert_int_equal(got.delay_ms, 0);
}

static void test_an_old_password_again_and_again_is_one_failure(void **state)
{
	struct rig *rig = *state;

	for (int i = 0; i < 1000; i++) {
		struct guard_decision got = ask(rig, "alice", at("192.0.2.1"));
		assert_int_equal(got.answer, GUARD_PASS);
		assert_int_equal(got.delay_ms, 0);
		fail_with(rig, "alice", at("192.0.2.1"), "old");
		rig->now += 30 * S;
	}
	/* A program that has several old ones and tries them in turn. */
	for (unsigned i = 0; i < 1000; i++) {
		struct guard_decision got = ask(rig, "bob", at("192.0.2.2"));
		assert_int_equal(got.answer, GUARD_PASS);
		assert_true(got.delay_ms <= 1000);
		fail_with(rig, "bob", at("192.0.2.2"), i % 2 ? "old" : "older");
	}
	/* ... nor on its way through many networks. */
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(ask(rig, "alice", nth(i)).answer, GUARD_PASS);
		fail_with(rig, "alice", nth(i), "old");
	}
	assert_int_equal(answer(rig, "alice", at("203.0.113.9")), GUARD_PASS);
}

static void test_guesses_side_by_side_gain_nothing(void **state)
{
	struct rig *rig = *state;
	unsigned passed = 0;

	for (int i = 0; i < 100; i++)
		passed += ask(rig, "alice", at("192.0.2.1")).answer == GUARD_PASS;
	assert_int_equal(passed, 10);
	for (unsigned i = 0; i < passed; i++) {
		char secret[16];
		snprintf(secret, sizeof secret, "%u", i);
		fail_with(rig, "alice", at("192.0.2.1"), secret);
	}
	assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_HOLD);
}

static void test_abandoned_attempts_leave_nothing(void **state)
{
	struct rig *rig = *state;

	for (int i = 0; i < 500; i++)
		assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_PASS);
	struct guard_decision got = ask(rig, "alice", at("192.0.2.1"));
	assert_int_equal(got.answer, GUARD_PASS);
	assert_int_equal(got.delay_ms, 0);
}

static void test_forgotten_attempts_end(void **state)
{
	struct rig *rig = *state;

	for (int i = 0; i < 10; i++)
		assert_int_equal(ask(rig, "alice", at("192.0.2.1")).answer, GUARD_PASS);
	assert_int_equal(ask(rig, "alice", at("192.0.2.1")).answer, GUARD_HOLD);
	rig->now += 20 * S;
	assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_PASS);
}

static void test_names_that_no_account_has_are_alike(void **state)
{
	static const char *const names[] = {"", "a", "nobody@example.net", "\xff\xfe", "alice"};
	struct rig *rig = *state;

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		/* Two networks, so that the network's own count stays out of it. */
		assert_int_equal(guesses(rig, names[i], nth(2 * i), 0, 30), 10);
		assert_int_equal(guesses(rig, names[i], nth(2 * i + 1), 100, 9), 9);
	}
}

/* ---------------------------------------------------------------- the owner */
static void test_the_owner_has_a_budget_of_his_own(void **state)
{
	struct rig *rig = *state;

	assert_false(knows(rig, "alice", at("192.0.2.1")));
	succeed(rig, "alice", at("192.0.2.1"));
	assert_true(knows(rig, "alice", at("192.0.2.1")));
	assert_false(knows(rig, "alice", at("192.0.2.2")));
	assert_false(knows(rig, "bob", at("192.0.2.1")));
	/* Seven mistakes without a delay. */
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(guess(rig, "alice", at("192.0.2.1"), i).delay_ms, 0);
	assert_int_equal(guess(rig, "alice", at("192.0.2.1"), 8).delay_ms, 1000);
	assert_int_equal(guesses(rig, "alice", at("192.0.2.1"), 9, 100), 21);
	rig->now += 5 * M;
	assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_PASS);
}

static void test_an_attack_from_everywhere_leaves_the_owner_in(void **state)
{
	struct rig *rig = *state;
	unsigned passed = 0;

	succeed(rig, "alice", at("192.0.2.1"));
	for (unsigned i = 0; i < 10000; i++) {
		passed += guess(rig, "alice", nth(i), i).answer == GUARD_PASS;
		struct guard_decision got = ask(rig, "alice", at("192.0.2.1"));
		assert_int_equal(got.answer, GUARD_PASS);
		assert_int_equal(got.delay_ms, 0);
		succeed(rig, "alice", at("192.0.2.1"));
	}
	assert_int_equal(passed, 50);
	assert_int_equal(answer(rig, "alice", at("198.51.100.1")), GUARD_HOLD);
	assert_int_equal(answer(rig, "bob", at("198.51.100.1")), GUARD_PASS);
	/* A day of it: one guess in five minutes. */
	for (unsigned i = 0; i < 24 * 60; i++) {
		rig->now += M;
		passed += guess(rig, "alice", nth(20000 + i), 20000 + i).answer == GUARD_PASS;
	}
	assert_in_range(passed, 50 + 280, 50 + 289);
	assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_PASS);
}

static void test_a_customers_many_connections_at_once(void **state)
{
	struct rig *rig = *state;

	succeed(rig, "bulk", at("192.0.2.1"));
	for (int i = 0; i < 1000; i++)
		assert_int_equal(ask(rig, "bulk", at("192.0.2.1")).answer, GUARD_PASS);
}

static void test_a_log_in_is_forgotten_in_time(void **state)
{
	struct rig *rig = *state;

	succeed(rig, "alice", at("192.0.2.1"));
	rig->now += rig->config.remember_ms - 1;
	assert_true(knows(rig, "alice", at("192.0.2.1")));
	succeed(rig, "alice", at("192.0.2.1"));
	rig->now += rig->config.remember_ms - 1;
	assert_true(knows(rig, "alice", at("192.0.2.1")));
	rig->now += 1;
	assert_false(knows(rig, "alice", at("192.0.2.1")));
}

static void test_prefixes_are_what_the_file_says(void **state)
{
	struct rig *rig = *state;

	rig->config.prefix_v4 = 24;
	rig->config.prefix_v6 = 48;
	succeed(rig, "alice", at("192.0.2.1"));
	assert_true(knows(rig, "alice", at("192.0.2.200")));
	assert_false(knows(rig, "alice", at("192.0.3.1")));
	succeed(rig, "alice", at("2001:db8:1:2::3"));
	assert_true(knows(rig, "alice", at("2001:db8:1:ffff::9")));
	assert_false(knows(rig, "alice", at("2001:db8:2::9")));
	assert_int_equal(guesses(rig, "bob", at("2001:db8:7:1::1"), 0, 6), 6);
	assert_int_equal(guesses(rig, "bob", at("2001:db8:7:2::1"), 6, 10), 4);
}

/* --------------------------------------------------------------- a network */
static void test_spraying_is_held_by_names(void **state)
{
	struct rig *rig = *state;
	char name[32];
	unsigned passed = 0;

	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "user%u", i);
		passed += guess(rig, name, at("192.0.2.1"), 0).answer == GUARD_PASS;
	}
	assert_int_equal(passed, 20);
	assert_int_equal(answer(rig, "someone", at("192.0.2.1")), GUARD_HOLD);
	assert_int_equal(answer(rig, "someone", at("192.0.2.2")), GUARD_PASS);
}

static void test_one_network_has_one_budget(void **state)
{
	struct rig *rig = *state;
	char name[32];
	unsigned passed = 0;

	for (unsigned i = 0; i < 12 * 8; i++) {
		snprintf(name, sizeof name, "user%u", i / 8);
		passed += guess(rig, name, at("192.0.2.1"), i).answer == GUARD_PASS;
	}
	assert_int_equal(passed, 50);
}

static void test_a_network_that_goes_on_is_blocked_for_longer_each_time(void **state)
{
	struct rig *rig = *state;
	struct address_key bad = at("192.0.2.1");

	assert_int_equal(guesses(rig, "alice", bad, 0, 29), 10);
	assert_int_equal(rig->blocks, 0);
	guess(rig, "alice", bad, 30);
	assert_int_equal(rig->blocks, 1);
	assert_int_equal(rig->block_ms, 15 * M);
	assert_string_equal(rig->reason, "wrong secrets");
	assert_true(network_has(&rig->blocked, &bad));
	assert_int_equal(ask(rig, "bob", bad).answer, GUARD_BLOCKED);
	assert_int_equal(ask(rig, "bob", at("192.0.2.2")).answer, GUARD_PASS);
	rig->now += 15 * M - 1;
	assert_int_equal(ask(rig, "bob", bad).answer, GUARD_BLOCKED);
	rig->now += 1;
	assert_int_equal(answer(rig, "bob", bad), GUARD_PASS);
	guesses(rig, "alice", bad, 100, 100);
	assert_int_equal(rig->blocks, 2);
	assert_int_equal(rig->block_ms, 30 * M);
	for (unsigned i = 0; i < 20; i++) {
		rig->now += rig->block_ms;
		guesses(rig, "alice", bad, 1000 + i * 100, 40);
	}
	assert_true(rig->block_ms <= 24u * H);
	assert_true(rig->block_ms >= 12u * H);
	/* A month later all is as at first. */
	rig->now += 30u * 24 * H;
	guesses(rig, "alice", bad, 5000, 100);
	assert_int_equal(rig->block_ms, 15 * M);
}

static void test_a_network_with_customers_is_held_and_not_blocked(void **state)
{
	struct rig *rig = *state;
	struct address_key nat = at("192.0.2.1");

	succeed(rig, "alice", nat);
	for (unsigned i = 0; i < 200; i++) {
		char name[32];
		snprintf(name, sizeof name, "user%u", i);
		guess(rig, name, nat, i);
		assert_int_equal(answer(rig, "alice", nat), GUARD_PASS);
	}
	assert_int_equal(rig->blocks, 0);
	assert_int_equal(answer(rig, "carol", nat), GUARD_HOLD);
}

static void test_own_account_buys_no_guesses(void **state)
{
	struct rig *rig = *state;
	unsigned passed = 0;

	for (unsigned i = 0; i < 200; i++) {
		passed += guess(rig, "victim", at("192.0.2.1"), i).answer == GUARD_PASS;
		if (ask(rig, "mallory", at("192.0.2.1")).answer == GUARD_PASS)
			succeed(rig, "mallory", at("192.0.2.1"));
	}
	assert_int_equal(passed, 10);
}

static void test_patience_of_a_mail_program_is_no_attack(void **state)
{
	struct rig *rig = *state;

	/* alice is under attack, and on a journey: held, again and again, and never blocked. */
	for (unsigned i = 0; i < 60; i++)
		guess(rig, "alice", nth(i), i);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(answer(rig, "alice", at("203.0.113.1")), GUARD_HOLD);
	assert_int_equal(rig->blocks, 0);
}

static void test_trusted_networks_are_counted_by_account_only(void **state)
{
	struct rig *rig = *state;
	struct address_key webmail = at("198.51.100.7");
	char name[32];

	assert_true(network_parse("198.51.100.0/24", &rig->config.trusted.networks[0]));
	rig->config.trusted.count = 1;
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof name, "user%u", i);
		assert_int_equal(guess(rig, name, webmail, i).answer, GUARD_PASS);
	}
	assert_int_equal(guesses(rig, "alice", webmail, 0, 100), 10);
	assert_int_equal(rig->blocks, 0);
	/* ... and over all networks. */
	assert_int_equal(guesses(rig, "alice", at("198.51.100.8"), 100, 100), 10);
	for (unsigned i = 0; i < 40; i++)
		guess(rig, "alice", nth(i), 200 + i);
	assert_int_equal(answer(rig, "alice", at("198.51.100.9")), GUARD_HOLD);
}

static void test_disabled_it_counts_nothing_and_blocks_hold(void **state)
{
	struct rig *rig = *state;
	struct network network;

	rig->config.enabled = false;
	assert_int_equal(guesses(rig, "alice", at("192.0.2.1"), 0, 500), 500);
	assert_int_equal(guard_changed(rig->guard), 0);
	assert_true(network_parse("192.0.2.0/24", &network));
	assert_true(guard_block(rig->guard, &network, rig->now + S));
	assert_int_equal(ask(rig, "alice", at("192.0.2.1")).answer, GUARD_BLOCKED);
	guard_unblock_all(rig->guard);
	assert_int_equal(ask(rig, "alice", at("192.0.2.1")).answer, GUARD_PASS);
}

static void test_blocks_are_bounded(void **state)
{
	struct rig *rig = *state;

	for (unsigned i = 0; i < GUARD_BLOCKS_MAX; i++) {
		struct address_key key = nth(i);
		struct network network = network_of(&key, 32, 64);
		assert_true(guard_block(rig->guard, &network, rig->now + H));
	}
	struct address_key key = nth(GUARD_BLOCKS_MAX);
	struct network network = network_of(&key, 32, 64);
	assert_false(guard_block(rig->guard, &network, rig->now + H));
	assert_int_equal(guard_block_count(rig->guard), GUARD_BLOCKS_MAX);
	/* Held all the same; nobody is told of a block that is none. */
	assert_int_equal(guesses(rig, "alice", key, 0, 200), 10);
	assert_int_equal(rig->blocks, 0);
}

/* ------------------------------------------------------------------ keeping */
static size_t carry(struct rig *from, struct guard *to, uint64_t age_ms, uint64_t to_now)
{
	struct guard_record records[7];
	size_t total = 0, count;

	for (count = guard_take_changed(from->guard, records, 7, from->now); count > 0;
		count = guard_take_changed(from->guard, records, 7, from->now)) {
		for (size_t i = 0; i < count; i++)
			guard_restore(to, &records[i], age_ms, to_now);
		total += count;
	}
	return total;
}

static void restart(struct rig *rig, uint64_t away_ms)
{
	static const uint8_t seed[GUARD_SEED_BYTES] = "one seed for both of them";
	struct guard *next = guard_of(rig, NULL);

	guard_seed(next, seed);
	assert_true(carry(rig, next, away_ms, 3 * S) > 0);
	guard_destroy(&rig->guard);
	rig->guard = next;
	rig->now = 3 * S; /* the machine, too, was started anew */
}

static void seed(struct rig *rig)
{
	static const uint8_t seed_bytes[GUARD_SEED_BYTES] = "one seed for both of them";

	guard_seed(rig->guard, seed_bytes);
}

static void test_what_is_counted_survives(void **state)
{
	struct rig *rig = *state;

	seed(rig);
	rig->now += 500u * H;
	succeed(rig, "alice", at("192.0.2.1"));
	guesses(rig, "bob", at("192.0.2.9"), 0, 10);
	for (unsigned i = 0; i < 60; i++)
		guess(rig, "carol", nth(i), i);
	restart(rig, 60 * S);
	assert_true(knows(rig, "alice", at("192.0.2.1")));
	assert_int_equal(answer(rig, "bob", at("192.0.2.9")), GUARD_HOLD);
	assert_int_equal(answer(rig, "carol", at("203.0.113.1")), GUARD_HOLD);
	rig->now += 4 * M;
	assert_int_equal(answer(rig, "bob", at("192.0.2.9")), GUARD_PASS);
	assert_int_equal(answer(rig, "carol", at("203.0.113.1")), GUARD_PASS);
	assert_int_equal(guard_changed(rig->guard), 0);
}

static void test_the_time_away_counts(void **state)
{
	struct rig *rig = *state;

	seed(rig);
	succeed(rig, "alice", at("192.0.2.1"));
	guesses(rig, "bob", at("192.0.2.9"), 0, 10);
	restart(rig, (uint64_t)720 * H);
	assert_false(knows(rig, "alice", at("192.0.2.1")));
	assert_int_equal(ask(rig, "bob", at("192.0.2.9")).delay_ms, 0);
}

static void test_a_network_keeps_its_welcome_and_its_strikes(void **state)
{
	struct rig *rig = *state;

	seed(rig);
	succeed(rig, "alice", at("192.0.2.1"));
	guesses(rig, "bob", at("192.0.2.2"), 0, 40);
	assert_int_equal(rig->blocks, 1);
	restart(rig, 10 * S);
	guesses(rig, "bob", at("192.0.2.1"), 0, 100);
	assert_int_equal(rig->blocks, 1);
	guesses(rig, "bob", at("192.0.2.2"), 0, 100);
	assert_int_equal(rig->blocks, 2);
	assert_int_equal(rig->block_ms, 30 * M);
}

static void test_records_join_the_larger_wins(void **state)
{
	struct rig *rig = *state;
	struct guard *other = guard_of(rig, NULL);
	struct guard *mine = rig->guard;

	seed(rig);
	guesses(rig, "bob", at("192.0.2.9"), 0, 4);
	rig->guard = other;
	seed(rig);
	guesses(rig, "bob", at("192.0.2.9"), 0, 9);
	carry(rig, mine, 0, rig->now);
	rig->guard = mine;
	assert_int_equal(guesses(rig, "bob", at("192.0.2.9"), 10, 10), 1);
	guard_destroy(&other);
}

static void test_another_seed_forgets(void **state)
{
	struct rig *rig = *state;
	static const uint8_t first[GUARD_SEED_BYTES] = "first", second[GUARD_SEED_BYTES] = "second";

	guard_seed(rig->guard, first);
	succeed(rig, "alice", at("192.0.2.1"));
	guard_seed(rig->guard, first);
	assert_true(knows(rig, "alice", at("192.0.2.1")));
	guard_seed(rig->guard, second);
	assert_false(knows(rig, "alice", at("192.0.2.1")));
	assert_int_equal(guard_changed(rig->guard), 0);
}

static void test_records_that_were_not_saved_come_again(void **state)
{
	struct rig *rig = *state;
	struct guard_record records[8];

	fail_with(rig, "alice", at("192.0.2.1"), "x");
	assert_int_equal(guard_changed(rig->guard), 3); /* pair, network, account */
	assert_int_equal(guard_take_changed(rig->guard, records, 8, rig->now), 3);
	assert_int_equal(guard_changed(rig->guard), 0);
	fail_with(rig, "alice", at("192.0.2.1"), "x"); /* a repeat changes nothing */
	assert_int_equal(guard_changed(rig->guard), 0);
	guard_changed_again(rig->guard, &records[1]);
	assert_int_equal(guard_take_changed(rig->guard, records, 8, rig->now), 1);
	/* A success that is remembered already is not worth a write. */
	succeed(rig, "alice", at("192.0.2.1"));
	assert_int_equal(guard_take_changed(rig->guard, records, 8, rig->now), 2);
	rig->now += 10 * M;
	succeed(rig, "alice", at("192.0.2.1"));
	assert_int_equal(guard_changed(rig->guard), 0);
	rig->now += H;
	succeed(rig, "alice", at("192.0.2.1"));
	assert_int_equal(guard_changed(rig->guard), 2);
}

static void test_hostile_records_stay_within_the_rules(void **state)
{
	struct rig *rig = *state;
	struct guard_record record = {.wrong = UINT32_MAX,
		.names = UINT32_MAX,
		.strikes = UINT32_MAX,
		.known_ms = UINT64_MAX};

	for (int kind = GUARD_KIND_KNOWN; kind <= GUARD_KIND_ACCOUNT; kind++) {
		record.kind = (enum guard_kind)kind;
		struct network network;
		assert_true(network_parse("192.0.2.1", &network));
		guard_network_key(rig->guard, &network, record.key);
		guard_restore(rig->guard, &record, 0, rig->now);
		guard_restore(rig->guard, &record, UINT64_MAX, rig->now);
	}
	assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_HOLD);
	rig->now += 5 * M;
	assert_int_equal(answer(rig, "alice", at("192.0.2.1")), GUARD_PASS);
}

/* -------------------------------------------------------------------- tables */
static void test_a_flood_washes_nothing_out(void **state)
{
	static const struct guard_capacity small = {64, 64, 64, 64};
	struct rig *rig = *state;
	char name[32];

	guard_destroy(&rig->guard);
	rig->guard = guard_of(rig, &small);
	succeed(rig, "alice", at("192.0.2.1"));
	assert_int_equal(guesses(rig, "victim", at("192.0.2.9"), 0, 10), 10);
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(name, sizeof name, "flood%u", i);
		guess(rig, name, nth(i), i);     /* a failure each */
		ask(rig, name, nth(100000 + i)); /* and attempts that never end */
	}
	assert_true(knows(rig, "alice", at("192.0.2.1")));
	assert_int_equal(answer(rig, "victim", at("192.0.2.9")), GUARD_HOLD);
}

static void test_the_longest_unused_log_in_makes_room(void **state)
{
	static const struct guard_capacity small = {64, 64, 64, 64};
	struct rig *rig = *state;
	char name[32];

	guard_destroy(&rig->guard);
	rig->guard = guard_of(rig, &small);
	for (unsigned i = 0; i < 65; i++) {
		snprintf(name, sizeof name, "user%u", i);
		rig->now += S;
		succeed(rig, name, at("192.0.2.1"));
	}
	assert_false(knows(rig, "user0", at("192.0.2.1")));
	for (unsigned i = 1; i < 65; i++) {
		snprintf(name, sizeof name, "user%u", i);
		assert_true(knows(rig, name, at("192.0.2.1")));
	}
}

/* --------------------------------------------------------------------- crowd */
static void test_a_crowd_behind_one_address_is_named_once_an_hour(void **state)
{
	struct rig *rig = *state;
	struct network network;
	unsigned percent, warnings = 0;
	struct address_key webmail = at("198.51.100.7");
	char name[32];

	rig->now = 10u * H;
	for (unsigned i = 0; i < 3000; i++) {
		rig->now += 2 * S; /* 100 minutes */
		snprintf(name, sizeof name, "user%u", i % 100);
		succeed(rig, name, i % 4 == 0 ? nth(i) : webmail);
		if (!guard_crowd(rig->guard, &network, &percent))
			continue;
		warnings++;
		assert_true(network_has(&network, &webmail));
		assert_in_range(percent, 70, 80);
	}
	assert_int_equal(warnings, 2);
}

static void test_no_crowd(void **state)
{
	struct rig *rig = *state;
	struct network network;
	unsigned percent;
	char name[32];

	assert_true(network_parse("198.51.100.7", &rig->config.trusted.networks[0]));
	rig->config.trusted.count = 1;
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "user%u", i);
		succeed(rig, "bulk", at("192.0.2.1"));  /* one customer's bulk sender */
		succeed(rig, name, at("198.51.100.7")); /* trusted */
		succeed(rig, name, nth(i));             /* everyone at home */
	}
	assert_false(guard_crowd(rig->guard, &network, &percent));
}

/* --------------------------------------------------------------------- model */
static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* Strangers do whatever they like, from other networks and from the owner's own with other names;
 * the owner comes now and then, mistypes a little, and is never held or made to wait. */
static void run_model(struct rig *rig, uint32_t random)
{
	const struct address_key home = at("192.0.2.1");
	char name[32];

	rig->guard = guard_of(rig, NULL);
	rig->now = S + next_random(&random) % (5 * H);
	succeed(rig, "owner", home);
	for (unsigned step = 0; step < 3000; step++) {
		uint32_t what = next_random(&random) % 100, which = next_random(&random);
		snprintf(name, sizeof name, "user%u", which % 500);
		rig->now += next_random(&random) % (what < 3 ? 10 * M : 2 * S);
		if (what < 40) {
			guess(rig, "owner", nth(which % 2000), which);
		} else if (what < 60) {
			guess(rig, name, home, which);
		} else if (what < 70) {
			guess(rig, name, nth(which % 50), which);
		} else if (what < 80) {
			ask(rig, which % 2 ? "owner" : name, nth(which % 100)); /* never settled */
		} else if (what < 85) {
			ask(rig, name, home);
		} else if (what < 88) {
			succeed(rig, name, which % 2 ? home : nth(which % 50));
		} else if (what < 89) {
			rig->now += 30 * M;
			guess(rig, "owner", home, which); /* a mistake of his own */
		} else {
			struct guard_decision got = ask(rig, "owner", home);
			if (got.answer != GUARD_PASS || got.delay_ms != 0)
				fail_msg("step %u: answer %d, delay %u", step, got.answer,
					(unsigned)got.delay_ms);
			succeed(rig, "owner", home);
		}
	}
	guard_destroy(&rig->guard);
}

static void test_model_strangers_never_hold_the_owner(void **state)
{
	struct rig *rig = *state;

	for (uint32_t seed_number = 1; seed_number <= 40; seed_number++) {
		guard_destroy(&rig->guard);
		print_message("model: seed %u\n", seed_number);
		run_model(rig, seed_number * 2654435761u);
	}
}

#define GUARD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		GUARD_TEST(test_delays_grow_then_a_hold),
		GUARD_TEST(test_a_hold_ends_by_itself),
		GUARD_TEST(test_an_old_password_again_and_again_is_one_failure),
		GUARD_TEST(test_guesses_side_by_side_gain_nothing),
		GUARD_TEST(test_abandoned_attempts_leave_nothing),
		GUARD_TEST(test_forgotten_attempts_end),
		GUARD_TEST(test_names_that_no_account_has_are_alike),
		GUARD_TEST(test_the_owner_has_a_budget_of_his_own),
		GUARD_TEST(test_an_attack_from_everywhere_leaves_the_owner_in),
		GUARD_TEST(test_a_customers_many_connections_at_once),
		GUARD_TEST(test_a_log_in_is_forgotten_in_time),
		GUARD_TEST(test_prefixes_are_what_the_file_says),
		GUARD_TEST(test_spraying_is_held_by_names),
		GUARD_TEST(test_one_network_has_one_budget),
		GUARD_TEST(test_a_network_that_goes_on_is_blocked_for_longer_each_time),
		GUARD_TEST(test_a_network_with_customers_is_held_and_not_blocked),
		GUARD_TEST(test_own_account_buys_no_guesses),
		GUARD_TEST(test_patience_of_a_mail_program_is_no_attack),
		GUARD_TEST(test_trusted_networks_are_counted_by_account_only),
		GUARD_TEST(test_disabled_it_counts_nothing_and_blocks_hold),
		GUARD_TEST(test_blocks_are_bounded),
		GUARD_TEST(test_what_is_counted_survives),
		GUARD_TEST(test_the_time_away_counts),
		GUARD_TEST(test_a_network_keeps_its_welcome_and_its_strikes),
		GUARD_TEST(test_records_join_the_larger_wins),
		GUARD_TEST(test_another_seed_forgets),
		GUARD_TEST(test_records_that_were_not_saved_come_again),
		GUARD_TEST(test_hostile_records_stay_within_the_rules),
		GUARD_TEST(test_a_flood_washes_nothing_out),
		GUARD_TEST(test_the_longest_unused_log_in_makes_room),
		GUARD_TEST(test_a_crowd_behind_one_address_is_named_once_an_hour),
		GUARD_TEST(test_no_crowd),
		GUARD_TEST(test_model_strangers_never_hold_the_owner),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
