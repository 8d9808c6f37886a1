/* SPDX-License-Identifier: ISC */
/*
 * An address needs an "@", or angle brackets (a reader may add its own domain).  So, where a reader
 * might look for one:
 *
 *   quoted string   "ceo@victim.example" is fine, for every reader knows quotes; within brackets
 *                   it is not: "<ceo@victim.example>" is found by searching for "<"
 *   comment         no "@", for there are readers that know no comments; no brackets
 *   encoded word    no "@", for there are readers that decode before they parse; no ">"; and
 *                   nothing that would end the quoted string or comment that it stands in
 *
 * An "@" of an address that is in the list may stand anywhere: clients repeat it as the name.
 * Proxy process, loop thread; pure.
 */
#include "proxy/from_display.h"

#include "proxy/encoded_word.h"

#include <string.h>

enum text_kind { TEXT_PLAIN, TEXT_QUOTED, TEXT_COMMENT };

struct text {
	const char *bytes;
	size_t len;
};

/* Could c be a part of an address that it stands beside? */
static bool joins(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return (uint8_t)c > 127 || (c != '\0' && strchr("!#$%&*+-/=?^_`{|}~.@", c) != NULL);
}

/* The "@" at text.bytes[at] is that of mailbox, which stands there whole. */
static bool is_of(const struct text *text, size_t at, const struct path *path)
{
	const char *sign = memrchr(path->text, '@', path->len);
	size_t before = (size_t)(sign - path->text), after = path->len - before;
	size_t end = at + after;

	if (at < before || end > text->len ||
		!from_same(text->bytes + at - before, path->len, path->text, path->len))
		return false;
	if (at > before && joins(text->bytes[at - before - 1]))
		return false;
	return end == text->len || !joins(text->bytes[end]);
}

/* Every "@" in text is one of the list's. */
static bool names_no_other(const struct text *text, const struct from_list *list)
{
	const char *end = text->bytes + text->len;
	const char *sign = memchr(text->bytes, '@', text->len);

	while (sign != NULL) {
		bool known = false;

		for (unsigned i = 0; i < list->count && !known; i++)
			known = is_of(text, (size_t)(sign - text->bytes), &list->mailboxes[i].path);
		if (!known)
			return false;
		sign = memchr(sign + 1, '@', (size_t)(end - sign - 1));
	}
	return true;
}

static bool has(const struct text *text, const char *characters)
{
	for (size_t i = 0; i < text->len; i++) {
		if (text->bytes[i] != '\0' && strchr(characters, text->bytes[i]) != NULL)
			return true;
	}
	return false;
}

/* "<ceo>": somebody's, to a reader that adds its own domain. */
static bool has_bare_brackets(const struct text *text)
{
	const char *end = text->bytes + text->len;
	const char *open = memchr(text->bytes, '<', text->len);

	while (open != NULL) {
		const char *close = memchr(open, '>', (size_t)(end - open));

		if (close == NULL)
			return false;
		if (memchr(open, '@', (size_t)(close - open)) == NULL)
			return true;
		open = memchr(close, '<', (size_t)(end - close));
	}
	return false;
}

static bool decoded_plain(
	const struct text *decoded, enum text_kind kind, const struct from_list *list)
{
	static const char *const never[] = {
		[TEXT_PLAIN] = ">",
		[TEXT_QUOTED] = ">\"\\",
		[TEXT_COMMENT] = ">()\\",
	};

	return !has(decoded, never[kind]) && names_no_other(decoded, list);
}

static bool encoded_plain(
	const struct text *text, enum text_kind kind, const struct from_list *list)
{
	char decoded[ENCODED_WORD_MAX];
	size_t at = 0, len;

	for (;;) {
		switch (encoded_word_next(text->bytes, text->len, &at, decoded, &len)) {
		case ENCODED_NONE:
			return true;
		case ENCODED_BROKEN:
			return false;
		case ENCODED_WORD:
			break;
		}
		if (!decoded_plain(&(struct text){decoded, len}, kind, list))
			return false;
	}
}

static bool text_plain(const struct text *text, enum text_kind kind, const struct from_list *list)
{
	if (!encoded_plain(text, kind, list))
		return false;
	switch (kind) {
	case TEXT_PLAIN: /* an "@" or a bracket in it is the grammar's own */
		return true;
	case TEXT_QUOTED:
		if (!has(text, "<>"))
			return true;
		break;
	case TEXT_COMMENT:
		break;
	}
	return !has_bare_brackets(text) && names_no_other(text, list);
}

/* The end of the quoted string or comment that begins at at: its closing octet. */
static size_t closing(const char *value, size_t at)
{
	size_t depth = 1;
	bool quoted = value[at] == '"';

	while (depth > 0) {
		char c = value[++at];

		if (c == '\\')
			at++;
		else if (quoted)
			depth = c != '"';
		else if (c == '(' || c == ')')
			depth = c == '(' ? depth + 1 : depth - 1;
	}
	return at;
}

bool from_display_plain(const char *value, size_t len, const struct from_list *list)
{
	size_t from = 0;

	for (size_t at = 0; at < len; at++) {
		enum text_kind kind = value[at] == '"' ? TEXT_QUOTED : TEXT_COMMENT;
		size_t end;

		if (value[at] != '"' && value[at] != '(')
			continue;
		if (!text_plain(&(struct text){value + from, at - from}, TEXT_PLAIN, list))
			return false;
		end = closing(value, at);
		if (!text_plain(&(struct text){value + at + 1, end - at - 1}, kind, list))
			return false;
		at = end;
		from = end + 1;
	}
	return text_plain(&(struct text){value + from, len - from}, TEXT_PLAIN, list);
}
