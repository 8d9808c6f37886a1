/* SPDX-License-Identifier: ISC */
/* EHLO keywords; see capability.h. */
#include "common/capability.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *keyword;
	enum ipc_capability bit;
} keywords[] = {
	{"PIPELINING", CAPABILITY_PIPELINING},
	{"8BITMIME", CAPABILITY_8BITMIME},
	{"SMTPUTF8", CAPABILITY_SMTPUTF8},
	{"DSN", CAPABILITY_DSN},
	{"SIZE", CAPABILITY_SIZE},
	{"ENHANCEDSTATUSCODES", CAPABILITY_ENHANCEDSTATUSCODES},
	{"CHUNKING", CAPABILITY_CHUNKING},
};

/* RFC 1870 4: [1*DIGIT].  0 for none, for anything else, and for more than 64 bits. */
static uint64_t parse_size(const char *text, size_t len)
{
	uint64_t value = 0;

	while (len > 0 && text[len - 1] == ' ')
		len--;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		uint64_t digit = (uint64_t)(text[i] - '0');
		if (value > (UINT64_MAX - digit) / 10)
			return 0;
		value = value * 10 + digit;
	}
	return value;
}

static uint64_t smaller_size(uint64_t a, uint64_t b)
{
	if (a == 0 || b == 0)
		return a == 0 ? b : a;
	return a < b ? a : b;
}

void capability_add(struct capability_set *set, const char *line, size_t len)
{
	const char *space = memchr(line, ' ', len);
	size_t word = space == NULL ? len : (size_t)(space - line);

	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
		if (strlen(keywords[i].keyword) != word ||
			strncasecmp(line, keywords[i].keyword, word) != 0)
			continue;
		set->bits |= keywords[i].bit;
		if (keywords[i].bit == CAPABILITY_SIZE && space != NULL)
			set->size = smaller_size(set->size, parse_size(space + 1, len - word - 1));
	}
}

void capability_parse(const struct smtp_reply *ehlo, struct capability_set *set_out)
{
	const char *line;
	size_t len;

	*set_out = (struct capability_set){0};
	if (ehlo->code != 250)
		return;
	set_out->bits = CAPABILITY_EHLO;
	for (size_t i = 1; smtp_reply_line(ehlo, i, &line, &len); i++)
		capability_add(set_out, line, len);
}

void capability_intersect(struct capability_set *set, const struct capability_set *other)
{
	set->bits &= other->bits;
	set->size = smaller_size(set->size, other->size);
}

const char *capability_format(const struct capability_set *set, char text[CAPABILITY_TEXT_MAX])
{
	size_t len = 0;

	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
		if ((set->bits & keywords[i].bit) == 0 || len >= CAPABILITY_TEXT_MAX)
			continue;
		len += (size_t)snprintf(text + len, CAPABILITY_TEXT_MAX - len, "%s%s",
			len > 0 ? " " : "", keywords[i].keyword);
		if (keywords[i].bit == CAPABILITY_SIZE && set->size > 0 &&
			len < CAPABILITY_TEXT_MAX)
			len += (size_t)snprintf(
				text + len, CAPABILITY_TEXT_MAX - len, "=%" PRIu64, set->size);
	}
	if (len == 0)
		snprintf(text, CAPABILITY_TEXT_MAX, "none");
	return text;
}
