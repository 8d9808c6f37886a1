/* SPDX-License-Identifier: ISC */
/*
 * Charsets are of a few families, by where an octet below 128 can be a part of another character.
 * A charset that is of none of them (UTF-7, UTF-16, EBCDIC, a programming language's escapes) can
 * spell "@" in ways that are not followed here: such a word is broken.  In doubt an octet is ASCII:
 * what may be an "@" to somebody is one.  Proxy process, loop thread.
 */
#include "proxy/encoded_word.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum family {
	FAMILY_PLAIN,   /* octets below 128 are ASCII */
	FAMILY_GBK,     /* an octet of 0x81..0xFE takes the next with it */
	FAMILY_BIG5,    /* ... of 0xA1..0xF9 */
	FAMILY_SJIS,    /* ... of 0x81..0x9F or 0xE0..0xFC */
	FAMILY_ESCAPES, /* ISO-2022-JP: ESC $ ... begins pairs, ESC ( ... ends them */
};

/* By the start of the name: "iso-8859-15", "utf-8*en" (RFC 2231 5). */
static const struct {
	const char *prefix;
	enum family family;
} charsets[] = {
	{"utf-8", FAMILY_PLAIN},
	{"utf8", FAMILY_PLAIN},
	{"us-ascii", FAMILY_PLAIN},
	{"ascii", FAMILY_PLAIN},
	{"iso-8859-", FAMILY_PLAIN},
	{"latin1", FAMILY_PLAIN},
	{"windows-125", FAMILY_PLAIN},
	{"windows-874", FAMILY_PLAIN},
	{"cp125", FAMILY_PLAIN},
	{"koi8-", FAMILY_PLAIN},
	{"tis-620", FAMILY_PLAIN},
	{"euc-", FAMILY_PLAIN},
	{"gb2312", FAMILY_PLAIN},
	{"ks_c_5601", FAMILY_PLAIN},
	{"gbk", FAMILY_GBK},
	{"gb18030", FAMILY_GBK},
	{"big5", FAMILY_BIG5},
	{"shift_jis", FAMILY_SJIS},
	{"windows-31j", FAMILY_SJIS},
	{"iso-2022-jp", FAMILY_ESCAPES},
};

static bool find_family(const char *name, size_t len, enum family *out)
{
	for (size_t i = 0; i < sizeof(charsets) / sizeof(charsets[0]); i++) {
		size_t prefix = strlen(charsets[i].prefix);

		if (len >= prefix && strncasecmp(name, charsets[i].prefix, prefix) == 0) {
			*out = charsets[i].family;
			return true;
		}
	}
	return false;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 2047 4.2. */
static bool decode_q(const char *text, size_t len, char *out, size_t *out_len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '=') {
			int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
			int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (char)(high * 16 + low);
			i += 2;
		} else if (c == '_') {
			c = ' ';
		}
		out[(*out_len)++] = c;
	}
	return true;
}

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *found = c == '\0' ? NULL : strchr(digits, c);

	return found == NULL ? -1 : (int)(found - digits);
}

/* RFC 2047 4.1.  Padding may be missing, as it often is. */
static bool decode_b(const char *text, size_t len, char *out, size_t *out_len)
{
	uint32_t bits = 0;
	unsigned count = 0;

	while (len > 0 && text[len - 1] == '=')
		len--;
	for (size_t i = 0; i < len; i++) {
		int digit = base64_digit(text[i]);

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		count += 6;
		if (count >= 8) {
			count -= 8;
			out[(*out_len)++] = (char)(bits >> count & 0xFF);
		}
	}
	return true;
}

static size_t pair(uint8_t lead, uint8_t first, uint8_t last, const char *text, size_t len)
{
	bool trailed = len > 1 && (uint8_t)text[1] >= 0x40 && (uint8_t)text[1] != 0x7F;

	return lead >= first && lead <= last && trailed ? 2 : 1;
}

/* RFC 1468, 2237: the escapes that readers agree on.  0: another. */
static size_t escape(const char *text, size_t len, bool *pairs)
{
	*pairs = len > 2 && text[1] == '$';
	if (len > 2 && text[1] == '(' && (text[2] == 'B' || text[2] == 'J' || text[2] == 'I'))
		return 3;
	if (*pairs && (text[2] == 'B' || text[2] == '@'))
		return 3;
	return *pairs && len > 3 && text[2] == '(' && text[3] == 'D' ? 4 : 0;
}

static bool graphic(char c)
{
	return c > ' ' && c < 0x7F;
}

/* How many octets at text are no ASCII character; 0: it is ASCII, or a control. */
static size_t foreign(enum family family, const char *text, size_t len, bool *pairs)
{
	uint8_t lead = (uint8_t)text[0];

	if (family == FAMILY_ESCAPES && lead == 0x1B)
		return escape(text, len, pairs);
	if (family == FAMILY_ESCAPES && *pairs && lead < 128)
		return len > 1 && graphic(text[0]) && graphic(text[1]) ? 2 : 0;
	if (lead < 128)
		return 0;
	switch (family) {
	case FAMILY_PLAIN:
	case FAMILY_ESCAPES:
		return 1;
	case FAMILY_GBK:
		return pair(lead, 0x81, 0xFE, text, len);
	case FAMILY_BIG5:
		return pair(lead, 0xA1, 0xF9, text, len);
	case FAMILY_SJIS:
		return pair(
			lead, lead >= 0xE0 ? 0xE0 : 0x81, lead >= 0xE0 ? 0xFC : 0x9F, text, len);
	}
	return 1;
}

/* Makes every character that is not ASCII one octet above 127.  False: a control is there. */
static bool neutralise(enum family family, char *text, size_t *len)
{
	size_t kept = 0, step;
	bool pairs = false;

	for (size_t i = 0; i < *len; i += step) {
		char c = text[i];

		step = foreign(family, text + i, *len - i, &pairs);
		if (step == 0 && !graphic(c) && c != ' ')
			return false;
		text[kept++] = step == 0 ? c : (char)0x80;
		step = step == 0 ? 1 : step;
	}
	*len = kept;
	return true;
}

enum encoded_status encoded_word_next(
	const char *text, size_t len, size_t from, struct encoded_word *out)
{
	const char *start = from >= len ? NULL : memmem(text + from, len - from, "=?", 2);
	const char *end = text + len, *mark, *last;
	enum family family;
	bool decoded;

	out->len = 0;
	if (start == NULL)
		return ENCODED_NONE;
	mark = memchr(start + 2, '?', (size_t)(end - start - 2)); /* behind the charset */
	if (mark == NULL || end - mark < 5 || mark[2] != '?' ||
		!find_family(start + 2, (size_t)(mark - start - 2), &family))
		return ENCODED_BROKEN;
	last = memmem(mark + 3, (size_t)(end - mark - 3), "?=", 2);
	if (last == NULL || last - mark - 3 > ENCODED_WORD_MAX)
		return ENCODED_BROKEN;
	out->start = (size_t)(start - text);
	out->end = (size_t)(last + 2 - text);
	if (mark[1] == 'q' || mark[1] == 'Q')
		decoded = decode_q(mark + 3, (size_t)(last - mark - 3), out->text, &out->len);
	else
		decoded = (mark[1] == 'b' || mark[1] == 'B') &&
			  decode_b(mark + 3, (size_t)(last - mark - 3), out->text, &out->len);
	return decoded && neutralise(family, out->text, &out->len) ? ENCODED_WORD : ENCODED_BROKEN;
}
