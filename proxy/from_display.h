/* SPDX-License-Identifier: ISC */
/*
 * What in a From field that was parsed is not address: display names and comments, and whether some
 * reader could find another address in them.  from_header.c's second half; nobody else includes it.
 */
#ifndef PROXY_FROM_DISPLAY_H
#define PROXY_FROM_DISPLAY_H

#include "proxy/from_header.h"

/*
 * value was parsed into list completely.  False: a reader that decodes before it parses, that knows
 * no comments, or that looks for "<" first, could see an address that is not in the list.
 */
bool from_display_plain(const char *value, size_t len, const struct from_list *list);

#endif
