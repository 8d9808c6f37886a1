/* SPDX-License-Identifier: ISC */
/* The checksum of what is kept on disk and of headers of the PROXY protocol.  Pure; any process. */
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli; RFC 3720 B.4), begun with crc 0, or continued with the last one's. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

#endif
