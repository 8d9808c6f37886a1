/* SPDX-License-Identifier: ISC */
/*
 * The string classes of PRECIS (RFC 8264) and the Bidi rule (RFC 5893), on code points that are
 * mapped and normalized already.  Pure; the properties are libunistring's (Unicode 14 in Debian
 * 12).
 */
#ifndef AUTH_PRECIS_H
#define AUTH_PRECIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* IdentifierClass (RFC 8264 4.2): letters, digits, visible ASCII; no space, symbol or punctuation
 * beyond ASCII, and nothing with a compatibility equivalent. */
bool precis_is_identifier(const uint32_t *text, size_t count);

/* FreeformClass (RFC 8264 4.3): that, spaces, symbols, punctuation; no controls, nothing invisible.
 */
bool precis_is_freeform(const uint32_t *text, size_t count);

/* Whether the text has nothing that runs from right to left, or is as RFC 5893 section 2 demands.
 */
bool precis_is_bidi(const uint32_t *text, size_t count);

#endif
