/* SPDX-License-Identifier: ISC */
/*
 * CRC-32C by a table; see crc32c.h.  Debian's libraries for it are whole frameworks, and what is
 * summed here is short.
 */
#include "common/crc32c.h"

static uint32_t crc_of_octet(uint32_t octet)
{
	for (int bit = 0; bit < 8; bit++)
		octet = (octet >> 1) ^ ((octet & 1) != 0 ? 0x82F63B78u : 0);
	return octet;
}

static const uint32_t *crc_table(void)
{
	static uint32_t table[256];

	if (table[1] == 0) {
		for (uint32_t i = 0; i < 256; i++)
			table[i] = crc_of_octet(i);
	}
	return table;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
	const uint32_t *table = crc_table();
	const uint8_t *at = bytes;

	crc = ~crc;
	for (size_t i = 0; i < len; i++)
		crc = crc >> 8 ^ table[(crc ^ at[i]) & 0xff];
	return ~crc;
}
