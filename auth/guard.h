/* SPDX-License-Identifier: ISC */
/*
 * The guard against guessing: who must wait, who is held, whose network is blocked.
 *
 * Counts distinct wrong secrets of (account name, network), of a network, of an account name over
 * all networks that do not know it, and distinct names of a network.  All of it is forgotten at a
 * steady pace.  A network from which the account has logged in before knows it: there only its own,
 * larger budget counts, so that nothing strangers do holds the owner where he usually is.  Names
 * are counted as they come: an account that exists and one that does not are alike.
 *
 * Pure: no socket, no database, no clock.  What is worth keeping leaves and comes back as records;
 * guard_store.h carries them.  Fixed memory, O(1) a question.  docs/guard.md has the rules.
 */
#ifndef AUTH_GUARD_H
#define AUTH_GUARD_H

#include "common/address.h"
#include "common/config.h"
#include "common/network.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	GUARD_TAG_BYTES = 8,
	GUARD_RECORD_KEY_BYTES = 16,
	GUARD_SEED_BYTES = 32,
	GUARD_BLOCKS_MAX = 4096,
	GUARD_DELAY_MAX_MS = 5000, /* within the proxy's patience, with the hash behind it */
};

enum guard_answer {
	GUARD_PASS = 1,
	GUARD_HOLD,    /* 454, before any look-up, alike for known and unknown names */
	GUARD_BLOCKED, /* the network: 421 */
};

struct guard_decision {
	enum guard_answer answer;
	uint64_t delay_ms; /* PASS: how long the attempt waits first; at most GUARD_DELAY_MAX_MS */
};

/* Sizes of the tables, in records. */
struct guard_capacity {
	size_t known, pairs, networks, accounts;
};

struct guard_settings {
	const struct config_guard *config; /* stays the caller's */
	struct guard_capacity capacity;    /* all 0: as docs/guard.md says */
	/* The guard blocked a network (it already refuses it); NULL: nobody is told. */
	void (*on_block)(
		const struct network *network, uint64_t for_ms, const char *reason, void *arg);
	void *arg;
};

struct guard;

struct guard *guard_new(const struct guard_settings *settings); /* NULL: out of memory */
void guard_destroy(struct guard **guard);

/*
 * Before anything else is done about a log-in.  login: prepared, or as it came when it cannot be
 * prepared; the same bytes in all calls of one attempt.  After GUARD_PASS exactly one of
 * guard_failed(), guard_succeeded() or guard_abandoned() follows: until then the attempt counts as
 * one that may fail, so that guesses side by side gain nothing.
 */
struct guard_decision guard_ask(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms);

/* Refused (535), at the verdict.  tag: guard_tag() of the secret; a repeat does not escalate. */
void guard_failed(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, const uint8_t tag[GUARD_TAG_BYTES], uint64_t now_ms);

/* Logged in.  Failures stay counted: nobody buys guesses with an account of his own. */
void guard_succeeded(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms);

/* No verdict: trouble of ours, or the client left before it. */
void guard_abandoned(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms);

/* Whether the account has logged in from this network before: its own budget, and the hash pool's
 * first queue. */
bool guard_knows(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms);

/* A digest of login and secret under a key that lives and dies with the process. */
void guard_tag(const struct guard *guard, const uint8_t *login, size_t login_len,
	const uint8_t *secret, size_t secret_len, uint8_t tag_out[GUARD_TAG_BYTES]);

/* ------------------------------------------------------------------- blocks */
bool guard_blocks(struct guard *guard, const struct address_key *client, uint64_t now_ms);
/* False: GUARD_BLOCKS_MAX are there already. */
bool guard_block(struct guard *guard, const struct network *network, uint64_t until_ms);
void guard_unblock_all(struct guard *guard); /* before a new list is told */
size_t guard_block_count(const struct guard *guard);

/* ------------------------------------------------------------------ keeping */
enum guard_kind { GUARD_KIND_KNOWN = 1, GUARD_KIND_PAIR, GUARD_KIND_NETWORK, GUARD_KIND_ACCOUNT };

/* What is kept of one table's entry.  No secret's tag is: in a thief's hands a digest that is fast
 * to compute would be a way to try passwords. */
struct guard_record {
	enum guard_kind kind;
	uint8_t key[GUARD_RECORD_KEY_BYTES];
	uint32_t wrong, names, strikes; /* thousandths, as of now */
	uint64_t known_ms;              /* KNOWN, NETWORK: how long the log-in is remembered yet */
	uint64_t keep_ms;               /* afterwards it says nothing any more */
};

/* Keys of records are digests under the seed: another seed forgets everything. */
void guard_seed(struct guard *guard, const uint8_t seed[GUARD_SEED_BYTES]);
/* The key under which a network's record is kept. */
void guard_network_key(const struct guard *guard, const struct network *network,
	uint8_t key_out[GUARD_RECORD_KEY_BYTES]);

/* Takes up to max changed records, those that wait longest; returns how many. */
size_t guard_take_changed(
	struct guard *guard, struct guard_record *records_out, size_t max, uint64_t now_ms);
size_t guard_changed(const struct guard *guard);
void guard_changed_again(struct guard *guard, const struct guard_record *record); /* not saved */

/* A record as it was age_ms ago; what is known already is joined with it, the larger wins. */
void guard_restore(
	struct guard *guard, const struct guard_record *record, uint64_t age_ms, uint64_t now_ms);

/* ------------------------------------------------------------- who is a crowd */
/*
 * Whether a single network, not trusted, carries most log-ins of many accounts: a NAT or webmail
 * that is missing from guard.trusted.  True at most once an hour.
 */
bool guard_crowd(struct guard *guard, struct network *network_out, unsigned *percent_out);

#endif
