/* SPDX-License-Identifier: ISC */
/*
 * One reply of an SMTP server (RFC 5321 4.2): an incremental parser, and the formatter that says
 * the same reply again to a client.  Pure: no socket, no clock, no log; any process.
 *
 * Strict: three digits, the first 2 to 5, the same in all lines; "-" up to the last line, then " "
 * or nothing; lines end with CRLF and hold neither CR, LF nor NUL.  Unknown codes of a known class
 * are kept as they are (RFC 5321 4.2: the first digit decides).  What a server sizes has a cap.
 * Deliberately not here: which reply was expected, and whether it came unasked.
 */
#ifndef COMMON_SMTP_REPLY_H
#define COMMON_SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum smtp_reply_limits {
	SMTP_REPLY_LINE_MAX = 2048, /* octets with CRLF; RFC 5321 4.5.3.1.5 says 512 */
	SMTP_REPLY_LINES_MAX = 100,
	SMTP_REPLY_BYTES_MAX = 64 * 1024,  /* of all lines, with CRLF */
	SMTP_REPLY_OUT_LINE_MAX = 512,     /* what is sent keeps the RFC's limit, with CRLF */
	SMTP_REPLY_INLINE_BYTES = 512,     /* a reply up to this long allocates nothing */
	SMTP_REPLY_FORMAT_MAX = 72 * 1024, /* no formatted reply is longer */
};

enum smtp_reply_status {
	SMTP_REPLY_DONE, /* one whole reply; what follows it in the input is not consumed */
	SMTP_REPLY_MORE, /* all input consumed, the reply goes on */
	SMTP_REPLY_BAD,  /* not SMTP, or over a limit: drop the connection */
};

struct smtp_reply {
	uint16_t code;     /* 200..599 once the first code is in */
	bool has_enhanced; /* a line began with an enhanced code whose class is the code's */
	bool eight_bit;    /* an octet above 127 is in the text */
	uint8_t class_;    /* 2, 4 or 5 */
	uint16_t subject, detail;
	size_t line_count; /* whole lines so far */

	/* The parser's own. */
	enum smtp_reply_status status;
	const char *why;
	char *heap; /* NULL: the lines are in inline_bytes */
	size_t capacity;
	size_t used;       /* lines without CRLF, each followed by LF */
	size_t line_start; /* where the current line begins */
	size_t octets;     /* all input of this reply, with CRLFs */
	bool after_cr;
	char inline_bytes[SMTP_REPLY_INLINE_BYTES];
};

void smtp_reply_init(struct smtp_reply *reply);
/* Ready for the next reply; gives allocated memory back. */
void smtp_reply_reset(struct smtp_reply *reply);
/* The same; the name for the end of its life.  Needs init before it is used again. */
void smtp_reply_free(struct smtp_reply *reply);

/*
 * Takes input.  *consumed_out is how much of it belongs to this reply: with DONE the rest is the
 * next reply's (call reset, then feed again), with MORE it is all of it.  After DONE or BAD the
 * same status is returned, with nothing consumed, until reset.  Out of memory is BAD.
 */
enum smtp_reply_status smtp_reply_feed(struct smtp_reply *reply, const void *bytes, size_t len,
	size_t *consumed_out) __attribute__((warn_unused_result));

/* After BAD: a few fixed words for the log ("bare LF"); else "". */
const char *smtp_reply_why(const struct smtp_reply *reply);

/* After DONE: 2..5, the first digit. */
unsigned smtp_reply_class(const struct smtp_reply *reply);

/*
 * After DONE: whether the code belongs to another command than MAIL, RCPT or the end of a message:
 * a greeting's 220, QUIT's 221, AUTH's 235, HELP's 211 and 214, any 3xx (RFC 5321 4.3.2, RFC 4954
 * 6).  Other codes of class 2 accept, known or not (RFC 5321 4.2).
 */
bool smtp_reply_misplaced(const struct smtp_reply *reply);

/* Whether anything of a reply was taken yet; false after init and reset. */
bool smtp_reply_begun(const struct smtp_reply *reply);

/*
 * The text of line index (from 0), without the reply code and its enhanced code; not
 * NUL-terminated, valid until the next call that changes the reply.  False: no such line.
 */
bool smtp_reply_line(
	const struct smtp_reply *reply, size_t index, const char **text_out, size_t *len_out);

/*
 * After DONE: writes the reply for a client.  Every line is at most SMTP_REPLY_OUT_LINE_MAX octets
 * with CRLF: a longer text is split into several lines, in utf8 mode between characters, so that
 * nothing is lost.  2xx, 4xx and 5xx carry an enhanced code on each line (RFC 2034 4): the
 * server's, else one that fits the code.  Tabs become spaces; control octets, octets that are not
 * UTF-8, and without utf8 all octets above 127 become '?' (RFC 6531 3.7.4.2: only a transaction
 * with SMTPUTF8 may be answered in UTF-8).
 * Returns the length without a NUL (none is written).  When that is more than room, out holds
 * nothing of use: call with room == 0 to measure.
 */
size_t smtp_reply_format(const struct smtp_reply *reply, bool utf8, char *out, size_t room);

#endif
