/* SPDX-License-Identifier: ISC */
/*
 * A pepper: the key under which generated credentials are hashed, from its file.
 *
 * The file holds one line, 32 random octets in hexadecimal, and is nobody else's to read.  Made by:
 * openssl rand -hex 32.  For the master, before it starts anybody, and for posternctl.
 */
#ifndef COMMON_PEPPER_H
#define COMMON_PEPPER_H

#include <stddef.h>
#include <stdint.h>

enum { PEPPER_BYTES = 32, PEPPER_WHY_MAX = 400 };

/* NULL: read.  Else why, which says what is wrong with it and what to do; out is wiped then. */
const char *pepper_read(const char *path, uint8_t out[PEPPER_BYTES], char why[PEPPER_WHY_MAX])
	__attribute__((warn_unused_result));

#endif
