/* SPDX-License-Identifier: ISC */
/*
 * Encoded words (RFC 2047), decoded far enough to see which ASCII characters a reader would find in
 * them.  Readers exist that decode a From field first and look for addresses afterwards; what they
 * would find must be known.  Pure.
 */
#ifndef PROXY_ENCODED_WORD_H
#define PROXY_ENCODED_WORD_H

#include <stddef.h>

enum { ENCODED_WORD_MAX = 1024 };

enum encoded_status {
	ENCODED_NONE,   /* no "=?" from there on */
	ENCODED_WORD,   /* decoded; *at is behind it */
	ENCODED_BROKEN, /* "=?" that begins no well-formed word, of a charset that is not known,
			   with controls in it, or too long */
};

/*
 * Looks for the next encoded word at or after text[*at].  out holds ENCODED_WORD_MAX octets:
 * ASCII octets in it are ASCII characters; every other character is one or more octets above 127.
 */
enum encoded_status encoded_word_next(const char *text, size_t len, size_t *at, char *out,
	size_t *out_len) __attribute__((warn_unused_result));

#endif
