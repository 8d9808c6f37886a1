/* SPDX-License-Identifier: ISC */
/*
 * The grammar of an address in brackets (RFC 5321 4.1.2, with RFC 6531 3.3's characters), to the
 * letter but for three things: an underscore may stand in a domain, for hosts are called so; a
 * domain needs two labels (RFC 6409 4.2); and the empty quoted string is refused, for it names
 * nobody and servers have crashed on it (Dovecot CVE-2020-10967).
 *
 * Nothing is rewritten: the text that passes is the text that goes on.  Who owns an address is the
 * auth process's business.  Proxy process, loop thread; pure.
 */
#include "proxy/command_grammar.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

enum { LOCAL_MAX = 64, DOMAIN_MAX = 255, LABEL_MAX = 63 }; /* RFC 5321 4.5.3.1, RFC 1035 2.3.4 */

_Static_assert(IPC_PATH_MAX == LOCAL_MAX + 1 + DOMAIN_MAX, "a frame holds any address");

/*
 * Characters that show as nothing, as something else, or turn the text around: Cc, Cf, Zs, Zl, Zp,
 * private use, and the full stops that IDNA takes for a dot (UTS 46 2.3).
 */
static const struct {
	uint32_t first, last;
} forbidden[] = {
	{0x0080, 0x00A0},
	{0x00AD, 0x00AD},
	{0x034F, 0x034F},
	{0x0600, 0x0605},
	{0x061C, 0x061C},
	{0x06DD, 0x06DD},
	{0x070F, 0x070F},
	{0x0890, 0x0891},
	{0x08E2, 0x08E2},
	{0x115F, 0x1160},
	{0x1680, 0x1680},
	{0x17B4, 0x17B5},
	{0x180B, 0x180F},
	{0x2000, 0x200F},
	{0x2028, 0x202F},
	{0x205F, 0x206F},
	{0x2800, 0x2800},
	{0x3000, 0x3000},
	{0x3002, 0x3002},
	{0x3164, 0x3164},
	{0xE000, 0xF8FF},
	{0xFDD0, 0xFDEF},
	{0xFE00, 0xFE0F},
	{0xFEFF, 0xFEFF},
	{0xFF0E, 0xFF0E},
	{0xFF61, 0xFF61},
	{0xFFA0, 0xFFA0},
	{0xFFF0, 0xFFFD},
	{0x110BD, 0x110BD},
	{0x110CD, 0x110CD},
	{0x13430, 0x1343F},
	{0x1BCA0, 0x1BCA3},
	{0x1D173, 0x1D17A},
	{0xE0000, 0x10FFFF},
};

static bool character_allowed(uint32_t character)
{
	if ((character & 0xFFFE) == 0xFFFE) /* no characters, in any plane */
		return false;
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		if (character >= forbidden[i].first && character <= forbidden[i].last)
			return false;
	}
	return true;
}

size_t grammar_utf8(const char *bytes, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t lead = len > 0 ? (uint8_t)bytes[0] : 0;
	size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
	uint32_t character;

	if (lead < 0xC2 || lead > 0xF4 || len < want)
		return 0;
	character = lead & (0xFFu >> (want + 1));
	for (size_t i = 1; i < want; i++) {
		if (((uint8_t)bytes[i] & 0xC0) != 0x80)
			return 0;
		character = character << 6 | ((uint8_t)bytes[i] & 0x3F);
	}
	/* RFC 3629 3: the shortest form only, no surrogates, nothing above U+10FFFF. */
	if (character < least[want] || character > 0x10FFFF ||
		(character >= 0xD800 && character <= 0xDFFF))
		return 0;
	return character_allowed(character) ? want : 0;
}

static bool is_alphanumeric(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* The length of one atext at bytes (RFC 5322 3.2.3, 6531 3.3); 0: none. */
static size_t atext(const char *bytes, size_t len)
{
	if (len == 0 || bytes[0] == '\0')
		return 0;
	if (is_alphanumeric(bytes[0]) || strchr("!#$%&'*+-/=?^_`{|}~", bytes[0]) != NULL)
		return 1;
	return grammar_utf8(bytes, len);
}

static size_t dot_string(const char *bytes, size_t len)
{
	size_t at = 0;

	for (;;) {
		size_t atom = at, step;

		while ((step = atext(bytes + at, len - at)) > 0)
			at += step;
		if (at == atom)
			return 0;
		if (at == len || bytes[at] != '.')
			return at;
		at++;
	}
}

/* One qtextSMTP or quoted-pairSMTP (RFC 5321 4.1.2, 6531 3.3); 0: neither. */
static size_t quoted_character(const char *bytes, size_t len)
{
	if (bytes[0] == '\\')
		return len > 1 && bytes[1] >= ' ' && bytes[1] <= '~' ? 2 : 0;
	if (bytes[0] >= ' ' && bytes[0] <= '~')
		return 1;
	return grammar_utf8(bytes, len);
}

static size_t quoted_string(const char *bytes, size_t len)
{
	size_t at = 1;

	while (at < len && bytes[at] != '"') {
		size_t step = quoted_character(bytes + at, len - at);

		if (step == 0)
			return 0;
		at += step;
	}
	return at < len && at > 1 ? at + 1 : 0;
}

size_t grammar_local_part(const char *bytes, size_t len)
{
	size_t found;

	if (len == 0)
		return 0;
	found = bytes[0] == '"' ? quoted_string(bytes, len) : dot_string(bytes, len);
	return found <= LOCAL_MAX ? found : 0;
}

static bool address_literal(const char *bytes, size_t len)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;
	bool v6 = len > 7 && strncasecmp(bytes, "[IPv6:", 6) == 0;
	size_t prefix = v6 ? 6 : 1;

	if (len < 3 || bytes[len - 1] != ']' || len - prefix - 1 >= sizeof(text))
		return false;
	len -= prefix + 1;
	if (memchr(bytes + prefix, '\0', len) != NULL)
		return false;
	memcpy(text, bytes + prefix, len);
	text[len] = '\0';
	return inet_pton(v6 ? AF_INET6 : AF_INET, text, &address) == 1;
}

/* A label's length: letters, digits, inner hyphens, underscores, and U-labels' characters.  0:
 * none. */
static size_t label(const char *bytes, size_t len)
{
	size_t at = 0, characters = 0;

	while (at < len && bytes[at] != '.') {
		size_t step = 1;

		if (!is_alphanumeric(bytes[at]) && bytes[at] != '-' && bytes[at] != '_')
			step = grammar_utf8(bytes + at, len - at);
		if (step == 0)
			return 0;
		at += step;
		characters++;
	}
	if (characters > LABEL_MAX || at == 0 || bytes[0] == '-' || bytes[at - 1] == '-')
		return 0;
	return at;
}

bool grammar_domain(const char *bytes, size_t len, bool qualified)
{
	size_t at = 0, labels = 0;

	if (len == 0 || len > DOMAIN_MAX)
		return false;
	if (bytes[0] == '[')
		return address_literal(bytes, len);
	for (;;) {
		size_t step = label(bytes + at, len - at);

		if (step == 0)
			return false;
		at += step;
		labels++;
		if (at == len)
			return labels >= 2 || !qualified;
		at++; /* the dot */
	}
}

bool grammar_mailbox(const char *bytes, size_t len, bool qualified)
{
	size_t local = grammar_local_part(bytes, len);

	return local > 0 && local < len && bytes[local] == '@' &&
	       grammar_domain(bytes + local + 1, len - local - 1, qualified);
}

/* RFC 5321 4.1.2 A-d-l, appendix C: to be accepted, and ignored.  False: it is broken. */
static bool skip_source_route(const char *bytes, size_t len, size_t *at)
{
	size_t from = *at;

	if (from == len || bytes[from] != '@')
		return true;
	for (;;) {
		size_t end = from + 1;

		while (end < len && bytes[end] != ',' && bytes[end] != ':' && bytes[end] != '>')
			end++;
		if (bytes[from] != '@' || end == len || bytes[end] == '>')
			return false;
		/* An IPv6 literal holds colons; a route through one is no loss. */
		if (!grammar_domain(bytes + from + 1, end - from - 1, false))
			return false;
		from = end + 1;
		if (from == len)
			return false;
		if (bytes[end] == ':') {
			*at = from;
			return true;
		}
	}
}

static bool keep(const char *bytes, size_t len, struct path *out)
{
	if (len > IPC_PATH_MAX)
		return false;
	out->len = (uint16_t)len;
	memcpy(out->text, bytes, len);
	for (size_t i = 0; i < len; i++)
		out->utf8 |= (uint8_t)bytes[i] > 127;
	return true;
}

/* The mailbox that begins here, up to the bracket; a '>' in a quoted string is none. */
static size_t mailbox_length(const char *bytes, size_t len)
{
	size_t at = grammar_local_part(bytes, len);

	if (at == 0)
		return 0;
	while (at < len && bytes[at] != '>')
		at++;
	return at;
}

bool command_parse_path(const char *bytes, size_t len, bool null_ok, bool postmaster_ok,
	struct path *out, size_t *consumed_out)
{
	size_t at = 1, inner;

	memset(out, 0, sizeof(*out));
	*consumed_out = 0;
	if (len < 2 || bytes[0] != '<')
		return false;
	if (bytes[1] == '>') {
		*consumed_out = 2;
		return null_ok;
	}
	if (!skip_source_route(bytes, len, &at))
		return false;
	inner = mailbox_length(bytes + at, len - at);
	if (inner == 0 || at + inner == len)
		return false;
	/* RFC 5321 4.1.1.3: the one recipient without a domain. */
	if (!grammar_mailbox(bytes + at, inner, true) &&
		!(postmaster_ok && at == 1 && inner == strlen("postmaster") &&
			strncasecmp(bytes + at, "postmaster", inner) == 0))
		return false;
	*consumed_out = at + inner + 1;
	return keep(bytes + at, inner, out);
}
