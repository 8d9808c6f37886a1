/* SPDX-License-Identifier: ISC */
/*
 * What the header's files share: header.c is the stage, header_line.c cuts lines and fields,
 * header_field.c decides about a field, header_add.c writes what is added.  Nobody else includes
 * it.
 */
#ifndef PROXY_HEADER_PARTS_H
#define PROXY_HEADER_PARTS_H

#include "proxy/header.h"

enum header_state {
	STATE_LINE,  /* a line begins, and its dot may be gone */
	STATE_NAME,  /* up to the colon */
	STATE_VALUE, /* up to the line's end */
	STATE_EMPTY, /* a line that begins with CR */
	STATE_OVER,
};

/* What becomes of the field at hand. */
enum header_fate {
	FATE_KEEP,
	FATE_DROP,
	FATE_FROM, /* held until it is complete and every address in it is known to be owned */
	FATE_SENDER,
};

/* Takes some octets from *at on, at least one or a change of state. */
enum header_status header_step(
	struct header *header, const char **at, const char *end, struct evbuffer *out);

/* The field before the line at hand is complete, if there was one. */
enum header_status header_end_field(struct header *header, struct evbuffer *out);

/* The header is over: HEADER_BODY, unless something about it is to be asked or refused. */
enum header_status header_finish(struct header *header, struct evbuffer *out);

/* Appends to out; failure shows in header->failed. */
void header_write(struct header *header, const void *bytes, size_t len, struct evbuffer *out);

/* Whether From is enforced, so that what is not understood is refused. */
bool header_strict(const struct header *header);

/* Notes a finding, the first only. */
void header_note(struct header *header, enum header_reason reason);

/* Refuses for good. */
enum header_status header_refuse(struct header *header, enum header_reason reason);

/* Whether fields of this name are taken out. */
bool header_stripped(const struct header *header, const char *name, size_t len);

/* header->text holds the name (name_len) and all up to the colon: says what becomes of the field.
 * HEADER_MORE or HEADER_REFUSED. */
enum header_status header_classify(struct header *header, enum header_fate *fate_out);

/* The field that is held is complete in header->text: HEADER_ASK, _REFUSED, or HEADER_MORE when it
 * is written and no longer held. */
enum header_status header_decide(struct header *header, struct evbuffer *out);

/* The header is complete but for its empty line: what is missing is refused or added. */
enum header_status header_complete(struct header *header, struct evbuffer *out);

/* Write one field each.  header_add_sender: From or Sender, of the envelope sender alone. */
void header_add_token(struct header *header, struct evbuffer *out);
void header_add_sender(struct header *header, const char *name, struct evbuffer *out);
void header_add_date(struct header *header, struct evbuffer *out);
void header_add_message_id(struct header *header, struct evbuffer *out);

#endif
