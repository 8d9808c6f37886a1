/* SPDX-License-Identifier: ISC */
/*
 * Networks in CIDR form, short lists of them, and a bounded set of them that end at a time.
 *
 * Numeric only.  A question to a set costs one look-up for each prefix length in use, however many
 * networks the set holds.  Pure: time is a parameter; any process.
 */
#ifndef COMMON_NETWORK_H
#define COMMON_NETWORK_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NETWORK_TEXT_MAX = 64, NETWORK_LIST_MAX = 256 };

struct network {
	struct address_key key; /* cut to its bits, the rest is 0 */
	uint8_t bits;           /* 0 to 128; 96 more than an IPv4 prefix has */
};

/*
 * Parses "192.0.2.0/24", "2001:db8::/48", or an address alone (all its bits).  Bits beyond the
 * prefix must be 0: "192.0.2.1/24" is more likely a mistake than a network.  False otherwise.
 */
bool network_parse(const char *text, struct network *out) __attribute__((warn_unused_result));

/* "192.0.2.0/24"; an address alone when all bits count.  Returns text. */
const char *network_format(const struct network *network, char text[NETWORK_TEXT_MAX]);

/* The network of an address: its first v4_bits or v6_bits bits. */
struct network network_of(const struct address_key *address, unsigned v4_bits, unsigned v6_bits);

bool network_has(const struct network *network, const struct address_key *address);
bool network_equal(const struct network *a, const struct network *b);

/* A few that an administrator wrote down; all zero is an empty one. */
struct network_list {
	struct network networks[NETWORK_LIST_MAX];
	size_t count;
};

/* Whether one of them holds the address. */
bool network_list_has(const struct network_list *list, const struct address_key *address);

struct network_set;

struct network_set *network_set_new(size_t max); /* NULL: out of memory */
void network_set_destroy(struct network_set **set);
void network_set_clear(struct network_set *set);

/* Adds it, or moves its end.  False: the set is full, or out of memory. */
bool network_set_add(struct network_set *set, const struct network *network, uint64_t until_ms);

/* Whether a network that has not ended holds the address.  Ended ones are dropped on the way. */
bool network_set_has(struct network_set *set, const struct address_key *address, uint64_t now_ms);

size_t network_set_count(const struct network_set *set);

#endif
