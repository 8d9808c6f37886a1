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
	{"BINARYMIME", CAPABILITY_BINARYMIME},
};

/* RFC 9422 3: the names in the value of LIMITS. */
static const struct {
	const char *name;
	size_t offset;
} limits[] = {
	{"RCPTMAX", offsetof(struct capability_set, rcpt_max)},
	{"MAILMAX", offsetof(struct capability_set, mail_max)},
	{"RCPTDOMAINMAX", offsetof(struct capability_set, rcpt_domain_max)},
};
enum { LIMIT_COUNT = sizeof limits / sizeof *limits, LIMIT_DIGITS_MAX = 6 };

static uint32_t *limit_of(struct capability_set *set, size_t index)
{
	return (uint32_t *)(void *)((char *)set + limits[index].offset);
}

static uint32_t limit_value(const struct capability_set *set, size_t index)
{
	return *(const uint32_t *)(const void *)((const char *)set + limits[index].offset);
}

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

/* The smaller one; 0 is no limit. */
static uint64_t smaller_size(uint64_t a, uint64_t b)
{
	if (a == 0 || b == 0)
		return a == 0 ? b : a;
	return a < b ? a : b;
}

/* RFC 9422 3: "NAME=value" where all values that we know are 1*6DIGIT and not 0. */
static void add_limit(struct capability_set *set, const char *word, size_t len)
{
	const char *equals = memchr(word, '=', len);
	size_t name = equals == NULL ? len : (size_t)(equals - word);
	uint64_t value;

	if (equals == NULL || len - name - 1 > LIMIT_DIGITS_MAX)
		return;
	value = parse_size(equals + 1, len - name - 1);
	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		if (strlen(limits[i].name) == name && strncasecmp(limits[i].name, word, name) == 0)
			*limit_of(set, i) = (uint32_t)smaller_size(limit_value(set, i), value);
	}
}

static void add_limits(struct capability_set *set, const char *text, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t begin = at;

		while (at < len && text[at] != ' ')
			at++;
		add_limit(set, text + begin, at - begin);
		while (at < len && text[at] == ' ')
			at++;
	}
}

void capability_add(struct capability_set *set, const char *line, size_t len)
{
	const char *space = memchr(line, ' ', len);
	size_t word = space == NULL ? len : (size_t)(space - line);

	if (space != NULL && word == strlen("LIMITS") && strncasecmp(line, "LIMITS", word) == 0)
		add_limits(set, space + 1, len - word - 1);
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
	for (size_t i = 0; i < LIMIT_COUNT; i++)
		*limit_of(set, i) =
			(uint32_t)smaller_size(limit_value(set, i), limit_value(other, i));
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
	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		if (limit_value(set, i) != 0 && len < CAPABILITY_TEXT_MAX)
			len += (size_t)snprintf(text + len, CAPABILITY_TEXT_MAX - len,
				"%s%s=%" PRIu32, len > 0 ? " " : "", limits[i].name,
				limit_value(set, i));
	}
	if (len == 0)
		snprintf(text, CAPABILITY_TEXT_MAX, "none");
	return text;
}
