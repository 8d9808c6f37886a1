/* SPDX-License-Identifier: ISC */
/*
 * Cuts command lines at CRLF, and at nothing else (RFC 5321 2.3.8).  Pure: no socket, no
 * allocation.
 */
#ifndef PROXY_LINE_H
#define PROXY_LINE_H

#include <stddef.h>

enum {
	/* Octets without CRLF: RFC 5321 4.5.3.1.4 and the extensions' shares; RFC 4954 4. */
	LINE_COMMAND_MAX = 4096,
	LINE_AUTH_MAX = 12288,
};

enum line_status {
	LINE_DONE,     /* [0, *len_out) is a line, *consumed_out octets with its CRLF */
	LINE_MORE,     /* no CRLF yet; the limit is not passed */
	LINE_TOO_LONG, /* more than limit octets and no CRLF within them: *consumed_out of them are
			* to go, then line_skip() until the CRLF */
	LINE_BAD, /* as DONE, but it holds a bare CR, a bare LF or NUL: one 500, none of it runs */
};

enum line_status line_cut(
	const char *bytes, size_t len, size_t limit, size_t *len_out, size_t *consumed_out);

/*
 * Discards the rest of a line that was too long.  Returns how many octets to drop; *done_out is set
 * to 1 when they end with its CRLF.  A CR at the end of bytes is kept for the next call.
 */
size_t line_skip(const char *bytes, size_t len, int *done_out);

#endif
