/* SPDX-License-Identifier: ISC */
/*
 * What the header's files share: header.c cuts lines and fields, header_field.c decides about a
 * field, header_add.c writes what is added.  Nobody else includes it.
 */
#ifndef PROXY_HEADER_PARTS_H
#define PROXY_HEADER_PARTS_H

#include "proxy/header.h"

/* What becomes of the field at hand. */
enum header_fate {
	FATE_KEEP,
	FATE_DROP,
	FATE_FROM, /* held until it is complete and every address in it is known to be owned */
	FATE_SENDER,
};

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
