/* SPDX-License-Identifier: ISC */
/* CIDR networks and sets of them; see network.h. */
#include "common/network.h"

#define HASH_NONFATAL_OOM 1
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

enum { V4_OFFSET = 96, BITS_MAX = 128 };

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool is_v4(const struct address_key *key)
{
	return memcmp(key->bytes, v4_mapped, sizeof v4_mapped) == 0;
}

static struct address_key cut(const struct address_key *address, unsigned bits)
{
	struct address_key key = *address;
	unsigned whole = bits / 8;

	if (whole >= sizeof key.bytes)
		return key;
	key.bytes[whole] &= (uint8_t)(0xff00u >> (bits % 8));
	memset(key.bytes + whole + 1, 0, sizeof key.bytes - whole - 1);
	return key;
}

static bool parse_bits(const char *text, unsigned max, unsigned *out)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 3 || text[digits] != '\0' || (digits > 1 && text[0] == '0'))
		return false;
	*out = (unsigned)strtoul(text, NULL, 10);
	return *out <= max;
}

bool network_parse(const char *text, struct network *out)
{
	const char *slash = strchr(text, '/');
	size_t len = slash == NULL ? strlen(text) : (size_t)(slash - text);
	char host[ADDRESS_TEXT_MAX];
	struct address address;

	memset(out, 0, sizeof *out);
	if (len >= sizeof host)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (host[0] == '[' || !address_parse(host, 0, &address) || address_port(&address) != 0)
		return false;
	bool v4 = address.sa.sa_family == AF_INET;
	unsigned bits = v4 ? BITS_MAX - V4_OFFSET : BITS_MAX;
	if (slash != NULL && !parse_bits(slash + 1, bits, &bits))
		return false;
	out->key = address_prefix(&address, 32, 128);
	out->bits = (uint8_t)(v4 ? V4_OFFSET + bits : bits);
	struct address_key kept = cut(&out->key, out->bits);
	return memcmp(&kept, &out->key, sizeof kept) == 0;
}

const char *network_format(const struct network *network, char text[NETWORK_TEXT_MAX])
{
	bool v4 = is_v4(&network->key) && network->bits >= V4_OFFSET;
	char host[INET6_ADDRSTRLEN] = "";

	inet_ntop(v4 ? AF_INET : AF_INET6, network->key.bytes + (v4 ? sizeof v4_mapped : 0), host,
		sizeof host);
	if (network->bits == BITS_MAX)
		snprintf(text, NETWORK_TEXT_MAX, "%s", host);
	else
		snprintf(text, NETWORK_TEXT_MAX, "%s/%d", host,
			network->bits - (v4 ? V4_OFFSET : 0));
	return text;
}

struct network network_of(const struct address_key *address, unsigned v4_bits, unsigned v6_bits)
{
	unsigned bits = is_v4(address) ? V4_OFFSET + v4_bits : v6_bits;

	return (struct network){.key = cut(address, bits), .bits = (uint8_t)bits};
}

bool network_has(const struct network *network, const struct address_key *address)
{
	struct address_key key = cut(address, network->bits);

	return memcmp(&key, &network->key, sizeof key) == 0;
}

bool network_equal(const struct network *a, const struct network *b)
{
	return a->bits == b->bits && memcmp(&a->key, &b->key, sizeof a->key) == 0;
}

bool network_list_has(const struct network_list *list, const struct address_key *address)
{
	for (size_t i = 0; i < list->count; i++) {
		if (network_has(&list->networks[i], address))
			return true;
	}
	return false;
}

/* --------------------------------------------------------------------- sets */
struct member {
	UT_hash_handle hh;
	struct network network; /* 17 octets without a hole: the key of the table */
	uint64_t until_ms;
};
_Static_assert(sizeof(struct network) == 17, "a network has no hole");

struct network_set {
	size_t max;
	struct member *members;
	unsigned of_length[BITS_MAX + 1]; /* how many have so many bits */
};

struct network_set *network_set_new(size_t max)
{
	struct network_set *set = calloc(1, sizeof *set);

	if (set != NULL)
		set->max = max;
	return set;
}

static void drop(struct network_set *set, struct member *member)
{
	set->of_length[member->network.bits]--;
	HASH_DEL(set->members, member);
	free(member);
}

void network_set_clear(struct network_set *set)
{
	struct member *member, *next;

	HASH_ITER (hh, set->members, member, next)
		drop(set, member);
}

void network_set_destroy(struct network_set **set)
{
	if (*set == NULL)
		return;
	network_set_clear(*set);
	free(*set);
	*set = NULL;
}

static struct member *find(const struct network_set *set, const struct network *network)
{
	struct member *member;

	HASH_FIND(hh, set->members, network, sizeof *network, member);
	return member;
}

bool network_set_add(struct network_set *set, const struct network *network, uint64_t until_ms)
{
	struct member *member = find(set, network);

	if (member != NULL) {
		member->until_ms = until_ms;
		return true;
	}
	if (HASH_COUNT(set->members) >= set->max)
		return false;
	member = calloc(1, sizeof *member);
	if (member == NULL)
		return false;
	member->network = *network;
	member->until_ms = until_ms;
	HASH_ADD(hh, set->members, network, sizeof member->network, member);
	if (member->hh.tbl == NULL) { /* uthash was out of memory */
		free(member);
		return false;
	}
	set->of_length[network->bits]++;
	return true;
}

bool network_set_has(struct network_set *set, const struct address_key *address, uint64_t now_ms)
{
	for (unsigned bits = 0; bits <= BITS_MAX; bits++) {
		if (set->of_length[bits] == 0)
			continue;
		struct network network = {.key = cut(address, bits), .bits = (uint8_t)bits};
		struct member *member = find(set, &network);
		if (member == NULL)
			continue;
		if (now_ms < member->until_ms)
			return true;
		drop(set, member);
	}
	return false;
}

size_t network_set_count(const struct network_set *set)
{
	return HASH_COUNT(set->members);
}
