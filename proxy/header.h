/* SPDX-License-Identifier: ISC */
/*
 * The header of a message on its way to the backend: whose it says it is, what is taken out of it
 * and what is put in.  A stage behind body.c: what that writes is fed here until the header ends,
 * and what comes out goes to the backend.  The body is never touched.
 *
 * Lines are read as the backend will read them, so the dot that stuffs one is taken off first
 * (".From: x" is a From field), and put on again where it must be.  Field names are compared
 * without regard to case, with the white space that may stand before the colon (RFC 5322 4.5:
 * "From :" is From).  docs/header-from.md tells each decision.
 *
 * Pure but for the evbuffer; fed whole, split anywhere or octet by octet it gives the same.  Holds
 * at most one field of at most HEADER_FIELD_MAX octets, and only while the header lasts.
 */
#ifndef PROXY_HEADER_H
#define PROXY_HEADER_H

#include "proxy/from_header.h"

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HEADER_FIELD_MAX = 65536,  /* of a From or Sender field; others stream through */
	HEADER_NAME_MAX = 997,     /* a line is at most 998 octets (RFC 5322 2.1.1) */
	HEADER_LINE_MAX = 998,     /* without CRLF (RFC 5322 2.1.1) */
	HEADER_BYTES_MAX = 262144, /* of the whole header */
};

enum header_mode {
	HEADER_OFF,     /* From is not looked at */
	HEADER_OBSERVE, /* nothing is refused or changed for it; what would be is found and told */
	HEADER_REJECT,
	HEADER_REWRITE, /* what the account does not own becomes the envelope sender */
};

/* All that it points to belongs to the caller and outlives the header. */
struct header_policy {
	enum header_mode mode;
	bool stuffed;       /* DATA; false: BDAT, whose lines are as they are */
	bool utf8;          /* the transaction has SMTPUTF8 */
	const char *sender; /* the envelope's, which the account owns (asked at MAIL) */
	size_t sender_len;  /* 0: the null reverse-path.  Then REWRITE is REJECT */
	/* Names of fields to strip, "X-Name", or "X-Name-*" for all that begin so.  Besides
	 * Authentication-Results and X-Postern-*, which are always stripped. */
	const char *const *strip;
	size_t strip_count;
	bool drop_received;
	bool add_date, add_message_id; /* where there is none (RFC 6409 8.2, 8.3) */
	const char *token;             /* for X-Postern-Token; NULL: none */
	const char *hostname;          /* of an added Message-ID */
	const char *transaction;       /* likewise: the transaction's id as text */
	uint64_t wall_ms;              /* of an added Date */
};

enum header_status {
	HEADER_MORE,    /* all octets are consumed */
	HEADER_ASK,     /* whether the account owns header_question(): header_answer() next */
	HEADER_BODY,    /* the header is over; the octets that follow go out as they are */
	HEADER_REFUSED, /* header_found() tells why.  The message must not reach its end */
};

enum header_reason {
	HEADER_FINE,
	HEADER_FROM_FOREIGN,    /* the account does not own an address in From */
	HEADER_FROM_REPEATED,   /* two From fields */
	HEADER_FROM_SEVERAL,    /* several mailboxes and no Sender (RFC 5322 3.6.2) */
	HEADER_SENDER_FOREIGN,  /* the account does not own the address in Sender */
	HEADER_SENDER_REPEATED, /* two Sender fields */
	HEADER_FROM_MISSING,
	HEADER_FROM_UNREADABLE,   /* found->why tells more */
	HEADER_SENDER_UNREADABLE, /* ... or it is no single mailbox */
	HEADER_LINE_MALFORMED,    /* a line that is no field, or bare CR or LF */
	HEADER_LINE_FOLDED_FIRST, /* the first line begins with white space */
	HEADER_LINE_MBOX,         /* the first line is a mailbox's "From " line */
	HEADER_LINE_LONG, /* above 998 octets: a server that cuts it makes a field of the rest */
	HEADER_TOO_LARGE, /* HEADER_BYTES_MAX, or HEADER_FIELD_MAX for a field held */
	HEADER_NO_MEMORY,
};

/* What a reason is to the client: which reply it gets after its end of data. */
enum header_fault {
	HEADER_FAULT_NONE,
	HEADER_FAULT_POLICY,  /* 550 5.7.1: not this account's */
	HEADER_FAULT_CONTENT, /* 550 5.6.0: no From, or not readable */
	HEADER_FAULT_SIZE,    /* 552 5.3.4 */
	HEADER_FAULT_OURS,    /* 452 4.3.1: out of memory */
};

struct header_found {
	enum header_reason reason; /* HEADER_FINE: nothing was found */
	enum from_status why;      /* of FROM_UNREADABLE and SENDER_UNREADABLE */
	struct path address;       /* of FROM_FOREIGN and SENDER_FOREIGN; else len is 0 */
};

struct header { /* all private */
	struct header_policy policy;
	struct header_found found;
	uint8_t state, fate;
	bool started, first, in_field, dot, space, cr;
	bool has_from, has_sender, has_date, has_message_id, several;
	bool failed;
	uint8_t asking; /* the mailbox of list that is in question */
	uint32_t bytes;
	uint32_t line; /* octets of the line at hand so far */
	char *text;    /* a name that is not complete, or the field that is held */
	size_t text_len, text_room, name_len;
	struct from_list *list; /* of the field that is held */
};

/* policy is copied.  The header holds no memory yet. */
void header_init(struct header *header, const struct header_policy *policy);

/* Frees what the header holds; may be called at any time, and again. */
void header_free(struct header *header);

/*
 * Consumes octets and appends to out what becomes of them.
 *
 * HEADER_MORE: all are consumed.  HEADER_ASK: the octets from *consumed_out on must be fed again
 * after the answers.  HEADER_BODY: *consumed_out octets were header, its empty line included, and
 * the rest is body; all memory is freed; nothing may be fed any more.  HEADER_REFUSED: likewise,
 * and what was appended to out must not become a message.
 */
enum header_status header_feed(struct header *header, const void *bytes, size_t len,
	size_t *consumed_out, struct evbuffer *out) __attribute__((warn_unused_result));

/*
 * header_feed() from an evbuffer: takes out of in what is consumed.  After HEADER_BODY the rest of
 * in has moved to out.
 */
enum header_status header_move(struct header *header, struct evbuffer *in, struct evbuffer *out)
	__attribute__((warn_unused_result));

/* The address in question, as an envelope would have it; valid until the answer. */
const char *header_question(const struct header *header, size_t *len_out);

/* HEADER_ASK: the next address is in question.  HEADER_MORE: feed on (or end).  HEADER_REFUSED. */
enum header_status header_answer(struct header *header, bool owned, struct evbuffer *out)
	__attribute__((warn_unused_result));

/*
 * The data ended before the empty line did: a header without a body.  HEADER_ASK: call it again
 * after the answers.  Else HEADER_BODY or HEADER_REFUSED.
 */
enum header_status header_end(struct header *header, struct evbuffer *out)
	__attribute__((warn_unused_result));

/*
 * Why it was refused; or the first thing that was found in OBSERVE (or OFF: malformed lines) and
 * let pass, or in REWRITE and rewritten.  Valid as long as the header, header_free() or not.
 */
const struct header_found *header_found(const struct header *header);

enum header_fault header_fault(enum header_reason reason);

/* A word for the log: "from-foreign". */
const char *header_reason_word(enum header_reason reason);

#endif
