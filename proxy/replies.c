/* SPDX-License-Identifier: ISC */
/*
 * The bytes of Postern's own replies, put together by the compiler from replies.def.  Replies with
 * particulars (an id, a meter) are written here too, so that every line has one origin.
 * When a reply is due is the session's business.  Proxy process, loop thread; pure.
 */
#include "proxy/replies.h"

#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"

#include <stdio.h>
#include <string.h>

enum { METER_MAX = 64 };

struct reply_row {
	const char *name;
	const char *line; /* with CRLF */
	uint16_t len;
	uint16_t code;
};

#define ROW(id, code, line) [REPLY_##id] = {#id, line "\r\n", sizeof(line "\r\n") - 1, code},
static const struct reply_row rows[REPLY_COUNT] = {
#define R(id, code, enhanced, text) ROW(id, code, #code " " enhanced " " text)
#define P(id, code, text) ROW(id, code, #code " " text)
#include "proxy/replies.def"
#undef R
#undef P
};

/* RFC 3463 2: the class of the enhanced code is the reply's first digit. */
#define R(id, code, enhanced, text)                                                            \
	_Static_assert(sizeof(#code " " enhanced " " text "\r\n") <= REPLY_TEXT_MAX + 1, #id); \
	_Static_assert(sizeof(enhanced) >= sizeof("2.0.0"), #id);
#define P(id, code, text) _Static_assert((code) / 100 == 3, #id);
#include "proxy/replies.def"
#undef R
#undef P

static const struct reply_row *row_of(enum reply_id id)
{
	require((unsigned)id < REPLY_COUNT);
	return &rows[id];
}

size_t reply_text(enum reply_id id, const char **bytes_out)
{
	const struct reply_row *row = row_of(id);

	*bytes_out = row->line;
	return row->len;
}

unsigned reply_code(enum reply_id id)
{
	return row_of(id)->code;
}

const char *reply_name(enum reply_id id)
{
	return row_of(id)->name;
}

size_t reply_format(enum reply_id id, char *out, size_t room)
{
	const struct reply_row *row = row_of(id);

	require(room >= REPLY_MAX);
	memcpy(out, row->line, row->len + 1u);
	return row->len;
}

size_t reply_format_octets(enum reply_id reply, uint64_t octets, char *out, size_t room)
{
	const struct reply_row *row = row_of(reply);
	int n;

	require(room >= REPLY_MAX);
	n = snprintf(out, room, "%.*s: %llu octets\r\n", row->len - 2, row->line,
		(unsigned long long)octets);
	require(n > 0 && n < REPLY_MAX);
	return (size_t)n;
}

size_t reply_format_with_id(enum reply_id reply, uint64_t id, char *out, size_t room)
{
	const struct reply_row *row = row_of(reply);
	char id_text[ID_TEXT_MAX];
	int n;

	require(room >= REPLY_MAX);
	n = snprintf(
		out, room, "%.*s (id %s)\r\n", row->len - 2, row->line, id_format(id, id_text));
	require(n > 0 && n < REPLY_MAX);
	return (size_t)n;
}

/* The name comes from the database: nothing of it may end or fold the line. */
static void meter_copy(const char *meter, char out[METER_MAX + 1])
{
	size_t len = 0;

	for (; *meter != '\0' && len < METER_MAX; meter++) {
		if (*meter >= ' ' && *meter <= '~')
			out[len++] = *meter;
	}
	out[len] = '\0';
}

enum reply_id reply_of_limit(enum ipc_policy policy)
{
	if (policy == IPC_POLICY_LIMIT_NEVER)
		return REPLY_LIMIT_NEVER;
	return policy == IPC_POLICY_LIMIT_REJECT ? REPLY_LIMIT_REJECT : REPLY_LIMIT;
}

size_t reply_format_limit(char *out, size_t room, enum ipc_policy policy, const char *meter,
	uint64_t limit, uint64_t reset_s, uint64_t id)
{
	const struct reply_row *row = row_of(reply_of_limit(policy));
	char name[METER_MAX + 1], id_text[ID_TEXT_MAX], time_text[CLOCK_TEXT_MAX];
	bool has_reset = policy != IPC_POLICY_LIMIT_NEVER && reset_s != 0;
	int n;

	require(room >= REPLY_MAX);
	meter_copy(meter, name);
	n = snprintf(out, room, "%.*s: %llu %s%s%s (id %s)\r\n", row->len - 2, row->line,
		(unsigned long long)limit, name, has_reset ? "; it frees at " : "",
		has_reset ? clock_format_second(reset_s, time_text) : "", id_format(id, id_text));
	require(n > 0 && n < REPLY_MAX);
	return (size_t)n;
}
