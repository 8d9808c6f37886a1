/* SPDX-License-Identifier: ISC */
/*
 * Session and transaction ids: 60 random bits, written as 12 characters of Crockford's base32 in
 * lower case.  The same text stands in the log, in the Received: line and in a refusal.
 */
#ifndef COMMON_ID_H
#define COMMON_ID_H

#include <stdbool.h>
#include <stdint.h>

enum { ID_TEXT_MAX = 13 };

uint64_t id_new(void); /* never 0 */
const char *id_format(uint64_t id, char text[ID_TEXT_MAX]);
bool id_parse(const char *text, uint64_t *id_out) __attribute__((warn_unused_result));

#endif
