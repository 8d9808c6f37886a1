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
	ENCODED_WORD,   /* decoded */
	ENCODED_BROKEN, /* "=?" that begins no well-formed word, of a charset that is not known,
			   with controls in it, or too long */
};

struct encoded_word {
	size_t start, end; /* where it stands in the text */
	/* ASCII octets in it are ASCII characters; any other character is one octet above 127. */
	size_t len;
	char text[ENCODED_WORD_MAX];
};

/* The next encoded word at or after text[from]. */
enum encoded_status encoded_word_next(const char *text, size_t len, size_t from,
	struct encoded_word *out) __attribute__((warn_unused_result));

#endif
