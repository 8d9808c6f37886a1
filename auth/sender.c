/* SPDX-License-Identifier: ISC */
/* Matching an address against packed sender rows; see sender.h. */
#include "auth/sender.h"

#include "common/log.h"

#include <string.h>

void sender_list_add(struct sender_list *list, const void *row, size_t len)
{
	uint16_t stored = (uint16_t)len;

	require(len <= SENDER_ROW_BYTES && list->count < SENDER_ROWS_MAX);
	memcpy(list->bytes + list->bytes_used, &stored, sizeof stored);
	memcpy(list->bytes + list->bytes_used + sizeof stored, row, len);
	list->bytes_used = (uint16_t)(list->bytes_used + sizeof stored + len);
	list->count++;
}

static uint8_t lower(uint8_t octet)
{
	return octet >= 'A' && octet <= 'Z' ? (uint8_t)(octet + ('a' - 'A')) : octet;
}

static bool equal(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	if (a_len != b_len)
		return false;
	for (size_t i = 0; i < a_len; i++) {
		if (lower(a[i]) != lower(b[i]))
			return false;
	}
	return true;
}

/* What follows the last @: a quoted local part may hold others, a domain never does. */
static const uint8_t *domain_of(const uint8_t *address, size_t len, size_t *domain_len_out)
{
	const uint8_t *at = len == 0 ? NULL : memrchr(address, '@', len);

	if (at == NULL || at == address || at == address + len - 1)
		return NULL;
	*domain_len_out = len - (size_t)(at + 1 - address);
	return at + 1;
}

static bool row_matches(
	const uint8_t *row, size_t row_len, const uint8_t *address, size_t address_len)
{
	size_t domain_len = 0;

	if (row_len == 1 && row[0] == '*')
		return true;
	if (row_len < 2 || row[1] != ':')
		return false;
	if (row[0] == 'a')
		return equal(row + 2, row_len - 2, address, address_len);
	if (row[0] != 'd' || row_len == 2)
		return false;
	const uint8_t *domain = domain_of(address, address_len, &domain_len);
	return domain != NULL && equal(row + 2, row_len - 2, domain, domain_len);
}

enum sender_answer sender_match(
	const struct sender_list *list, const uint8_t *address, size_t address_len)
{
	const uint8_t *row = list->bytes;

	for (uint16_t i = 0; i < list->count; i++) {
		uint16_t len;
		memcpy(&len, row, sizeof len);
		row += sizeof len;
		if (row_matches(row, len, address, address_len))
			return SENDER_OWNED;
		row += len;
	}
	return list->total > list->count ? SENDER_ASK : SENDER_FOREIGN;
}

bool sender_plain(const uint8_t *address, size_t address_len)
{
	for (size_t i = 0; i < address_len; i++) {
		if (address[i] < 0x20 || address[i] == 0x7f)
			return false;
	}
	return true;
}
