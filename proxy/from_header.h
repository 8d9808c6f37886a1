/* SPDX-License-Identifier: ISC */
/*
 * The value of one From (or Sender) field as a list of addresses: RFC 5322 3.4 with what real
 * clients send of its obsolete forms.  Everything that is not understood to its last octet is
 * refused, and so is everything that two plausible readers would read as different addresses
 * (docs/header-from.md has the list): whoever checks ownership must see what the recipient sees.
 *
 * Pure; linear in the value's length.
 */
#ifndef PROXY_FROM_HEADER_H
#define PROXY_FROM_HEADER_H

#include "proxy/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FROM_VALUE_MAX = 65536, FROM_MAILBOXES_MAX = 16 };

enum from_status {
	FROM_OK,
	FROM_EMPTY,     /* no mailbox: nothing at all, or a group without members */
	FROM_SYNTAX,    /* not RFC 5322 3.4, or no address that an envelope could have */
	FROM_NO_DOMAIN, /* a word where an address should be: "root (Cron Daemon)" */
	FROM_CONTROL,   /* NUL, another control, or a line end that is no fold */
	FROM_NON_ASCII, /* in an address, without SMTPUTF8 */
	FROM_AMBIGUOUS, /* readers differ about it */
	FROM_TOO_LONG,
	FROM_TOO_MANY,
};

struct from_mailbox {
	/* Where the addr-spec stands in the value, from its first octet to its last, and the
	 * display name (as it stands: quotes, encoded words, folds; len 0: none). */
	uint32_t at, len, name_at, name_len;
	/* As an envelope would have it: no comments, no white space outside of quotes, the local
	 * part quoted only where it must be; case is kept.  Passes command_parse_path(). */
	struct path path;
};

struct from_list {
	unsigned count; /* 1..FROM_MAILBOXES_MAX after FROM_OK */
	bool group;     /* a group was there; its members are among the mailboxes */
	struct from_mailbox mailboxes[FROM_MAILBOXES_MAX];
};

/*
 * value is what follows the colon, with or without its folds, without the CRLF that ends the field.
 * utf8: the transaction has SMTPUTF8, so an address may be non-ASCII (RFC 6532 3.2); octets above
 * 127 in a display name or a comment pass in any case.  *out is meaningful after FROM_OK only.
 */
enum from_status from_parse(const char *value, size_t len, bool utf8, struct from_list *out)
	__attribute__((warn_unused_result));

/* A word for the log: "ambiguous". */
const char *from_status_word(enum from_status status);

/* Whether two addresses are the same but for the case of ASCII letters, as auth has it. */
bool from_same(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
