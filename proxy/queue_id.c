/* SPDX-License-Identifier: ISC */
/* Finding a queue id in a reply's text; see queue_id.h. */
#include "proxy/queue_id.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static bool is_id(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '_' || c == '.';
}

static size_t copy_word(const char *text, size_t len, uint8_t *out, size_t room)
{
	size_t n = 0;

	while (n < len && n < room && is_id(text[n]))
		n++;
	memcpy(out, text, n);
	return n;
}

/* What follows marker, anywhere in the text. */
static size_t after(const char *text, size_t len, const char *marker, uint8_t *out, size_t room)
{
	size_t marker_len = strlen(marker);

	for (size_t i = 0; i + marker_len <= len; i++) {
		if (strncasecmp(text + i, marker, marker_len) == 0)
			return copy_word(text + i + marker_len, len - i - marker_len, out, room);
	}
	return 0;
}

/* "4A1B2C Message accepted for delivery" */
static size_t before_message(const char *text, size_t len, uint8_t *out, size_t room)
{
	static const char marker[] = " Message accepted";
	size_t n = copy_word(text, len, out, room);

	if (n + sizeof marker - 1 > len || strncasecmp(text + n, marker, sizeof marker - 1) != 0)
		return 0;
	return n;
}

size_t queue_id_find(const struct smtp_reply *reply, uint8_t *out, size_t room)
{
	static const char *const markers[] = {"queued as ", "queued id=", " id=", "queued: "};
	const char *text;
	size_t len, n = 0;

	if (!smtp_reply_line(reply, 0, &text, &len))
		return 0;
	for (size_t i = 0; n == 0 && i < sizeof markers / sizeof markers[0]; i++)
		n = after(text, len, markers[i], out, room);
	return n > 0 ? n : before_message(text, len, out, room);
}
