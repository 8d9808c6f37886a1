/* SPDX-License-Identifier: ISC */
/*
 * What command_path.c and command_parameters.c share of the grammar; nobody else includes it.
 */
#ifndef PROXY_COMMAND_GRAMMAR_H
#define PROXY_COMMAND_GRAMMAR_H

#include "proxy/command.h"

/*
 * The length (2..4) of the valid UTF-8 sequence of a character above U+007F at bytes, if it may
 * stand in an address: no control, format, bidi or separator character, nothing unassignable.  0:
 * not.
 */
size_t grammar_utf8(const char *bytes, size_t len);

/*
 * Mailbox without brackets, all of len octets (RFC 5321 4.1.2, 6531 3.3).  qualified: a domain
 * needs two labels.
 */
bool grammar_mailbox(const char *bytes, size_t len, bool qualified);

/* How many octets at bytes are one Mailbox's local part, quoted or not; 0: none is there. */
size_t grammar_local_part(const char *bytes, size_t len);

/* A domain or an address literal, all of len octets. */
bool grammar_domain(const char *bytes, size_t len, bool qualified);

#endif
