/* SPDX-License-Identifier: ISC */
/*
 * An address needs an "@", or angle brackets (a reader may add its own domain).  So, where a reader
 * might look for one:
 *
 *   quoted string   "ceo@victim.example" is fine, for every reader knows quotes; within brackets
 *                   it is not: "<ceo@victim.example>" is found by searching for "<"
 *   comment         no "@", for there are readers that know no comments; no brackets; and no single
 *                   quote mark, which would turn quoted and unquoted around for them
 *   encoded word    no "@", for there are readers that decode before they parse; no brackets; and
 *                   nothing that would end the quoted string or comment that it stands in, or
 *                   begin one that takes in more than itself
 *
 * An address that is in the list may be repeated: there are clients that make it the name.
 * Proxy process, loop thread; pure.
 */
#include "proxy/from_display.h"

#include "common/log.h"
#include "proxy/encoded_word.h"

#include <string.h>

enum text_kind { TEXT_PLAIN, TEXT_QUOTED, TEXT_COMMENT };

struct text {
	const char *bytes;
	size_t len;
};

struct display {
	const char *value;
	const struct from_list *list;
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

static bool even_quotes(const struct text *text)
{
	bool even = true;

	for (size_t i = 0; i < text->len; i++)
		even ^= text->bytes[i] == '"';
	return even;
}

static bool balanced(const struct text *text)
{
	size_t depth = 0;

	for (size_t i = 0; i < text->len; i++) {
		if (text->bytes[i] == ')' && depth-- == 0)
			return false;
		depth += text->bytes[i] == '(';
	}
	return depth == 0 && even_quotes(text);
}

/* The octets at word, as they stand, are all of a display name. */
static bool is_name(const struct display *display, const char *word, size_t len)
{
	for (unsigned i = 0; i < display->list->count; i++) {
		const struct from_mailbox *mailbox = &display->list->mailboxes[i];

		if (word == display->value + mailbox->name_at && len == mailbox->name_len)
			return true;
	}
	return false;
}

static bool decoded_plain(
	const struct display *display, const struct text *decoded, enum text_kind kind, bool whole)
{
	bool names = memchr(decoded->bytes, '@', decoded->len) != NULL;

	switch (kind) {
	case TEXT_PLAIN: /* beside anything else the address would be a longer one */
		return !has(decoded, "<>\\") && balanced(decoded) &&
		       (!names || (whole && names_no_other(decoded, display->list)));
	case TEXT_QUOTED:
		return !has(decoded, ">\"\\") && names_no_other(decoded, display->list);
	case TEXT_COMMENT:
		return !has(decoded, "<>()\\") && even_quotes(decoded) && !names;
	}
	panic("no such kind");
}

static bool encoded_plain(
	const struct display *display, const struct text *text, enum text_kind kind)
{
	struct encoded_word word; /* 1 KiB, not to be cleared for nothing */

	word.end = 0;
	for (;;) {
		switch (encoded_word_next(text->bytes, text->len, word.end, &word)) {
		case ENCODED_NONE:
			return true;
		case ENCODED_BROKEN:
			return false;
		case ENCODED_WORD:
			break;
		}
		if (!decoded_plain(display, &(struct text){word.text, word.len}, kind,
			    is_name(display, text->bytes + word.start, word.end - word.start)))
			return false;
	}
}

static bool text_plain(const struct display *display, const struct text *text, enum text_kind kind)
{
	if (!encoded_plain(display, text, kind))
		return false;
	switch (kind) {
	case TEXT_PLAIN: /* an "@" or a bracket in it is the grammar's own */
		return true;
	case TEXT_QUOTED:
		if (!has(text, "<>"))
			return true;
		break;
	case TEXT_COMMENT:
		if (!even_quotes(text))
			return false;
		break;
	}
	return !has_bare_brackets(text) && names_no_other(text, display->list);
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

static bool has_encoded(const struct text *text)
{
	return text->len > 0 && memmem(text->bytes, text->len, "=?", 2) != NULL;
}

bool from_display_plain(const char *value, size_t len, const struct from_list *list)
{
	const struct display display = {value, list};
	bool encoded = false, named = false;
	struct text text = {.bytes = value};

	for (size_t at = 0; at <= len; at++) {
		enum text_kind kind;

		if (at < len && value[at] != '"' && value[at] != '(')
			continue;
		text.len = (size_t)(value + at - text.bytes);
		encoded |= has_encoded(&text);
		if (!text_plain(&display, &text, TEXT_PLAIN))
			return false;
		if (at == len)
			break;
		kind = value[at] == '"' ? TEXT_QUOTED : TEXT_COMMENT;
		text.bytes = value + at + 1;
		at = closing(value, at);
		text.len = (size_t)(value + at - text.bytes);
		named |= kind == TEXT_QUOTED && has(&text, "@");
		if (!text_plain(&display, &text, kind))
			return false;
		text.bytes = value + at + 1;
	}
	/* A decoded comma makes "ceo@victim.example" in quotes an element of its own. */
	return !(encoded && named);
}
