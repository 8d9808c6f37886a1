/* SPDX-License-Identifier: ISC */
/*
 * The body of a message: where DATA ends, and what of the octets reaches the backend.
 *
 * Only the octets CR LF . CR LF end it (RFC 5321 4.1.1.4), decided before anything else; the CRLF
 * of the DATA command counts as the first CR LF.  Line ends are normalised: a bare LF, or a run of
 * CRs before an LF, becomes one CRLF; any other CR a space.  A dot at the start of a line that the
 * client began with a true CRLF is the client's own stuffing and passes; a dot that starts a line
 * only because we made a line end there is stuffed.  So the output holds no bare CR or LF, and no
 * CRLF.CRLF before its end.  NUL never passes: from the first on nothing is written any more.
 *
 * What came in chunks (BDAT, RFC 3030) has its length from elsewhere: nothing in it ends it, a dot
 * is content like any other, and its line ends are normalised alike, across the chunks' boundaries.
 * Of a BINARYMIME message not an octet is changed.
 *
 * Pure but for the evbuffer it writes to; no socket; bounded state.  Feeding whole, split anywhere
 * or octet by octet gives the same output.
 */
#ifndef PROXY_BODY_H
#define PROXY_BODY_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A run of CRs that is longer gives up its oldest as spaces: what is held back is bounded. */
enum { BODY_HELD_MAX = 255 };

enum body_mode {
	BODY_DATA, /* from DATA to DATA: dots are stuffed already, CR LF . CR LF ends it */
	BODY_CHUNKS_TO_DATA, /* every dot that starts a line is stuffed, and nothing ends it */
	BODY_CHUNKS,         /* from chunks to chunks: likewise, and no dot is stuffed */
	BODY_BINARY,         /* from chunks to chunks, octet for octet, NUL too */
};

struct body {
	uint8_t mode;  /* enum body_mode */
	uint8_t state; /* private: where in a line end we are */
	bool saw_nul;
	bool saw_bare; /* a bare CR or LF was there (normalised, or refused by the caller) */
	uint8_t held;  /* private: CRs that wait for what follows them */
	bool failed;   /* the evbuffer ran out of memory */
	/* Of the message as the client sent it, stuffing included, end excluded; exact after every
	 * call: what may yet be the end is not counted before. */
	uint64_t bytes_in;
};

enum body_status { BODY_MORE, BODY_END };

void body_init(struct body *body, enum body_mode mode);

/*
 * Consumes up to len octets and appends to out what they become (out == NULL: the message is being
 * discarded; only the end is looked for).  BODY_END: *consumed_out octets reach to and include the
 * end of data, and the terminating ".\r\n" has NOT been appended: the caller sends it when it may.
 * Otherwise, and in the modes for chunks always, all len are consumed.  A common message (only CRLF
 * line ends) is copied in runs as long as the input: use memchr, not a step an octet.
 */
enum body_status body_feed(struct body *body, const void *bytes, size_t len, size_t *consumed_out,
	struct evbuffer *out);

/*
 * The last chunk is in: completes a last line that has no line end (a message in DATA cannot be
 * without it), so that ".\r\n" may follow.  CRs that were held count as the beginning of
 * that line end.  Not for BODY_DATA.
 */
void body_finish(struct body *body, struct evbuffer *out);

#endif
