/* SPDX-License-Identifier: ISC */
/*
 * Command lines end in CRLF and in nothing else.  libevent's own line readers do not serve:
 * EVBUFFER_EOL_CRLF takes a bare LF, EVBUFFER_EOL_CRLF_STRICT leaves CR, LF and NUL within the
 * line. What a line means is command.c's business.  Proxy process, loop thread; pure.
 */
#include "proxy/line.h"

#include <stdbool.h>
#include <string.h>

/* The index of the first CR LF; len: none. */
static size_t find_crlf(const char *bytes, size_t len)
{
	size_t at = 0;

	while (at < len) {
		const char *lf = memchr(bytes + at, '\n', len - at);

		if (lf == NULL)
			break;
		if (lf > bytes && lf[-1] == '\r')
			return (size_t)(lf - bytes) - 1;
		at = (size_t)(lf - bytes) + 1;
	}
	return len;
}

static bool holds(const char *bytes, size_t len, char octet)
{
	return memchr(bytes, octet, len) != NULL;
}

enum line_status line_cut(
	const char *bytes, size_t len, size_t limit, size_t *len_out, size_t *consumed_out)
{
	/* A CRLF that begins at limit ends a line of just the longest length. */
	size_t window = len < limit || len - limit < 2 ? len : limit + 2;
	size_t end = find_crlf(bytes, window);

	*len_out = 0;
	*consumed_out = 0;
	if (end < window) {
		*len_out = end;
		*consumed_out = end + 2;
		if (holds(bytes, end, '\r') || holds(bytes, end, '\n') || holds(bytes, end, '\0'))
			return LINE_BAD; /* RFC 5321 2.3.8 */
		return LINE_DONE;
	}
	if (len <= limit || (len == limit + 1 && bytes[limit] == '\r'))
		return LINE_MORE;
	*consumed_out = limit; /* no CRLF lies across this point, or it would have been found */
	return LINE_TOO_LONG;
}

size_t line_skip(const char *bytes, size_t len, int *done_out)
{
	size_t end = find_crlf(bytes, len);

	*done_out = end < len;
	if (end < len)
		return end + 2;
	return len > 0 && bytes[len - 1] == '\r' ? len - 1 : len;
}
