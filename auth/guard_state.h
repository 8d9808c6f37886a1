/* SPDX-License-Identifier: ISC */
/*
 * What the guard counts, for guard.c (the rules), guard_record.c (keeping) and guard_bucket.c.
 */
#ifndef AUTH_GUARD_STATE_H
#define AUTH_GUARD_STATE_H

#include "auth/guard.h"
#include "auth/guard_table.h"

#include <sodium.h>

enum {
	GUARD_RING_TAGS = 8,   /* wrong secrets of a pair or an account that are remembered */
	GUARD_RING_NAMES = 16, /* names of a network */
	GUARD_PENDING_FORGIVE_MS = 2000,
	GUARD_HELD_FORGIVE_MS = 30 * 1000,
	GUARD_STRIKE_FORGIVE_MS = 24 * 60 * 60 * 1000,
};
_Static_assert(
	(int)GUARD_KEY_BYTES == (int)GUARD_RECORD_KEY_BYTES, "a record keeps the table's key");

/* A count that loses one each forgive_ms. */
struct bucket {
	uint64_t at_ms;
	uint32_t milli; /* as of at_ms */
};

uint32_t bucket_read(const struct bucket *bucket, uint64_t forgive_ms, uint64_t now_ms);
/* Adds so many thousandths, up to max (of whole ones). */
void bucket_add(
	struct bucket *bucket, uint32_t milli, uint32_t max, uint64_t forgive_ms, uint64_t now_ms);
void bucket_take(struct bucket *bucket, uint64_t forgive_ms, uint64_t now_ms); /* one, if any */
/* At least so many thousandths from now on. */
void bucket_raise(struct bucket *bucket, uint32_t milli, uint64_t forgive_ms, uint64_t now_ms);

struct known {
	uint64_t until_ms;
};

/* Of (account name, network), and of an account name over all networks that do not know it. */
struct tally {
	struct bucket wrong, pending;
	uint64_t tags[GUARD_RING_TAGS]; /* the last wrong secrets; 0: none */
	unsigned next_tag;
};

struct net {
	struct bucket wrong, names, held, strikes, pending;
	uint32_t tried[GUARD_RING_NAMES]; /* the last names that failed; 0: none */
	unsigned next_name;
	uint64_t welcome_until_ms; /* some account logged in from there */
	/* Of the hour's log-ins. */
	uint64_t hour, accounts; /* which hour; a bit for each account that hashes to it */
	uint32_t logins;
};

struct crowd {
	uint64_t hour, logins, next_warning_ms;
	bool found;
	struct network network;
	unsigned percent;
};

struct guard {
	const struct config_guard *config;
	struct guard_settings settings;
	struct guard_table *known, *pairs, *networks, *accounts;
	struct network_set *blocks;
	struct crowd crowd;
	uint8_t seed[GUARD_SEED_BYTES];
	uint8_t tag_key[crypto_generichash_KEYBYTES];
};

struct guard_table *guard_table_of(const struct guard *guard, enum guard_kind kind);

#endif
