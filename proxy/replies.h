/* SPDX-License-Identifier: ISC */
/*
 * The replies that Postern itself gives: ids, codes, and their bytes ready to send.  One table,
 * replies.def.  Pure.
 */
#ifndef PROXY_REPLIES_H
#define PROXY_REPLIES_H

#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum reply_id {
#define R(id, code, enhanced, text) REPLY_##id,
#define P(id, code, text) REPLY_##id,
#include "proxy/replies.def"
#undef R
#undef P
	REPLY_COUNT,
};

enum {
	REPLY_TEXT_MAX = 120, /* of a row, with codes and CRLF */
	REPLY_MAX = 512,      /* of any reply line, with CRLF (RFC 5321 4.5.3.1.5) */
};

/* The whole reply, "250 2.0.0 OK\r\n": a constant.  Returns its length. */
size_t reply_text(enum reply_id id, const char **bytes_out);

/* 250, 421, ... */
unsigned reply_code(enum reply_id id);

/* "OK", "LIMIT", ...: for logs and docs. */
const char *reply_name(enum reply_id id);

/* These write a whole line with CRLF and a NUL after it, and return its length without the NUL.
 * room is REPLY_MAX at least (less aborts); nothing is ever truncated. */

size_t reply_format(enum reply_id id, char *out, size_t room);

/* "250 2.0.0 Chunk accepted: 65536 octets\r\n" */
size_t reply_format_octets(enum reply_id reply, uint64_t octets, char *out, size_t room);

/* "550 5.7.1 Not allowed ... (id 0123456789ab)\r\n": refusals that `posternctl explain` resolves.
 */
size_t reply_format_with_id(enum reply_id reply, uint64_t id, char *out, size_t room);

/*
 * An empty meter: "450 4.7.1 Limit reached: 3 messages per hour; it frees at 2026-11-25T03:10:00Z
 * (id 0123456789ab)", with LIMIT_REJECT "550 5.7.1 ...", or with LIMIT_NEVER, "550 5.7.1 More than
 * the limit itself allows: 3 recipients per hour (id ...)".  meter is the meter's name ("messages
 * per hour"): of its octets only printable ASCII is kept, 64 at most.  reset_s: seconds since 1970;
 * 0: unknown, left out.
 */
enum reply_id reply_of_limit(enum ipc_policy policy); /* LIMIT, LIMIT_REJECT or LIMIT_NEVER */
size_t reply_format_limit(char *out, size_t room, enum ipc_policy policy, const char *meter,
	uint64_t limit, uint64_t reset_s, uint64_t id);

#endif
