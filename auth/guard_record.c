/* SPDX-License-Identifier: ISC */
/*
 * What of the guard's counts survives the process; see guard.h.  Pending attempts and secrets' tags
 * do not: after a restart a phone's old password counts once more.
 */
#include "auth/guard_state.h"

#include <string.h>

void guard_seed(struct guard *guard, const uint8_t seed[GUARD_SEED_BYTES])
{
	if (sodium_memcmp(guard->seed, seed, GUARD_SEED_BYTES) == 0)
		return;
	memcpy(guard->seed, seed, GUARD_SEED_BYTES);
	guard_table_clear(guard->known);
	guard_table_clear(guard->pairs);
	guard_table_clear(guard->networks);
	guard_table_clear(guard->accounts);
}

static uint64_t left(uint64_t until_ms, uint64_t now_ms)
{
	return until_ms > now_ms ? until_ms - now_ms : 0;
}

/* How long a count takes until nothing of it is left. */
static uint64_t forgotten_ms(uint32_t milli, uint64_t forgive_ms)
{
	return milli * forgive_ms / 1000 + 1;
}

static void keep(struct guard_record *record, uint64_t for_ms)
{
	if (record->keep_ms < for_ms)
		record->keep_ms = for_ms;
}

static void export_net(const struct guard *guard, const struct net *net,
	struct guard_record *record, uint64_t now_ms)
{
	uint64_t forgive_ms = guard->config->forgive_ms;

	record->wrong = bucket_read(&net->wrong, forgive_ms, now_ms);
	record->names = bucket_read(&net->names, forgive_ms, now_ms);
	record->strikes = bucket_read(&net->strikes, GUARD_STRIKE_FORGIVE_MS, now_ms);
	record->known_ms = left(net->welcome_until_ms, now_ms);
	keep(record, record->known_ms);
	keep(record, forgotten_ms(record->wrong, forgive_ms));
	keep(record, forgotten_ms(record->names, forgive_ms));
	keep(record, forgotten_ms(record->strikes, GUARD_STRIKE_FORGIVE_MS));
}

static void export(
	const struct guard *guard, const void *entry, struct guard_record *record, uint64_t now_ms)
{
	switch (record->kind) {
	case GUARD_KIND_KNOWN:
		record->known_ms = left(((const struct known *)entry)->until_ms, now_ms);
		keep(record, record->known_ms);
		break;
	case GUARD_KIND_PAIR:
	case GUARD_KIND_ACCOUNT:
		record->wrong = bucket_read(
			&((const struct tally *)entry)->wrong, guard->config->forgive_ms, now_ms);
		keep(record, forgotten_ms(record->wrong, guard->config->forgive_ms));
		break;
	case GUARD_KIND_NETWORK:
		export_net(guard, entry, record, now_ms);
		break;
	}
}

size_t guard_take_changed(
	struct guard *guard, struct guard_record *records_out, size_t max, uint64_t now_ms)
{
	size_t count = 0;

	for (int kind = GUARD_KIND_KNOWN; kind <= GUARD_KIND_ACCOUNT; kind++) {
		struct guard_table *table = guard_table_of(guard, (enum guard_kind)kind);
		while (count < max && guard_table_marked(table) > 0) {
			struct guard_record *record = &records_out[count++];
			*record = (struct guard_record){.kind = (enum guard_kind)kind};
			const void *entry = guard_table_next_marked(table, record->key);
			export(guard, entry, record, now_ms);
		}
	}
	return count;
}

size_t guard_changed(const struct guard *guard)
{
	return guard_table_marked(guard->known) + guard_table_marked(guard->pairs) +
	       guard_table_marked(guard->networks) + guard_table_marked(guard->accounts);
}

void guard_changed_again(struct guard *guard, const struct guard_record *record)
{
	struct guard_table *table = guard_table_of(guard, record->kind);
	const void *entry = guard_table_get(table, record->key);

	if (entry != NULL)
		guard_table_mark(table, entry);
}

/* ------------------------------------------------------------------ restoring */
static void restore_bucket(struct bucket *bucket, uint32_t milli, unsigned max, uint64_t age_ms,
	uint64_t forgive_ms, uint64_t now_ms)
{
	const struct bucket then = {.milli = milli};
	uint32_t most = max * 1000;
	uint32_t now = bucket_read(&then, forgive_ms, age_ms);

	bucket_raise(bucket, now < most ? now : most, forgive_ms, now_ms);
}

static void restore_until(uint64_t *until_ms, uint64_t known_ms, uint64_t remember_ms,
	uint64_t age_ms, uint64_t now_ms)
{
	uint64_t rest_ms = known_ms < remember_ms ? known_ms : remember_ms;

	if (rest_ms > age_ms && now_ms + rest_ms - age_ms > *until_ms)
		*until_ms = now_ms + rest_ms - age_ms;
}

static void restore_net(struct guard *guard, struct net *net, const struct guard_record *record,
	uint64_t age_ms, uint64_t now_ms)
{
	const struct config_guard *config = guard->config;

	restore_bucket(&net->wrong, record->wrong, config->guesses_network, age_ms,
		config->forgive_ms, now_ms);
	restore_bucket(&net->names, record->names, config->names_network, age_ms,
		config->forgive_ms, now_ms);
	restore_bucket(&net->strikes, record->strikes, 16, age_ms, GUARD_STRIKE_FORGIVE_MS, now_ms);
	restore_until(
		&net->welcome_until_ms, record->known_ms, config->remember_ms, age_ms, now_ms);
}

void guard_restore(
	struct guard *guard, const struct guard_record *record, uint64_t age_ms, uint64_t now_ms)
{
	const struct config_guard *config = guard->config;
	void *entry = guard_table_put(guard_table_of(guard, record->kind), record->key, now_ms);

	switch (record->kind) {
	case GUARD_KIND_KNOWN:
		restore_until(&((struct known *)entry)->until_ms, record->known_ms,
			config->remember_ms, age_ms, now_ms);
		break;
	case GUARD_KIND_PAIR: /* whose account may be known there */
		restore_bucket(&((struct tally *)entry)->wrong, record->wrong,
			config->guesses_known > config->guesses ? config->guesses_known
								: config->guesses,
			age_ms, config->forgive_ms, now_ms);
		break;
	case GUARD_KIND_ACCOUNT:
		restore_bucket(&((struct tally *)entry)->wrong, record->wrong,
			config->guesses_account, age_ms, config->forgive_ms, now_ms);
		break;
	case GUARD_KIND_NETWORK:
		restore_net(guard, entry, record, age_ms, now_ms);
		break;
	}
}
