/* SPDX-License-Identifier: ISC */
/*
 * The grammar of RFC 5322 3.4 by recursive descent, without recursion: an address list of mailboxes
 * and groups (RFC 6854 allows groups in From), phrases with dots (obs-phrase), empty list elements
 * (obs-addr-list), nested comments.  What is in the address itself is stricter: one dot-atom or one
 * quoted string, "@", one dot-atom or an address literal; CFWS only around the "@" and outside.
 *
 * What readers might take for an address elsewhere is from_display.c's business.  Proxy process,
 * loop thread; pure.
 */
#include "proxy/from_header.h"

#include "common/log.h"
#include "proxy/from_display.h"

#include <string.h>

struct scan {
	const char *bytes;
	size_t len, at;
	bool utf8;
	struct from_list *out;
};

/* A run of words: a phrase, or a local part, as what follows it tells. */
struct words {
	size_t at, end; /* from the first word to the last */
	unsigned count; /* atoms, quoted strings and dots */
	bool gaps;      /* CFWS between two of them */
	bool quoted;    /* a quoted string is among them */
};

static bool white(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char peek(const struct scan *scan)
{
	return scan->at < scan->len ? scan->bytes[scan->at] : '\0'; /* NUL was refused before */
}

/* RFC 5322 3.2.3; octets above 127 as RFC 6532 3.2, or as they come. */
static bool atext(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return (uint8_t)c > 127 || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* ------------------------------------------------------------- octets and white space */

/* At a CR.  RFC 5322 3.2.2: CRLF, then white space, then something: a reader that trims its lines
 * takes one of white space only for the end of the header (obs-FWS allows it). */
static enum from_status check_fold(const char *value, size_t len, size_t *at)
{
	size_t next = *at + 2;

	if (next >= len || value[*at + 1] != '\n' || (value[next] != ' ' && value[next] != '\t'))
		return FROM_CONTROL;
	while (next < len && (value[next] == ' ' || value[next] == '\t'))
		next++;
	*at = next;
	return next == len || value[next] == '\r' ? FROM_AMBIGUOUS : FROM_OK;
}

static enum from_status check_octets(const char *value, size_t len)
{
	size_t at = 0;

	while (at < len) {
		uint8_t c = (uint8_t)value[at];
		enum from_status status;

		if (c == '\r') {
			status = check_fold(value, len, &at);
			if (status != FROM_OK)
				return status;
		} else if ((c < ' ' && c != '\t') || c == 0x7F) {
			return FROM_CONTROL;
		} else {
			at++;
		}
	}
	return FROM_OK;
}

/* From the opening parenthesis; nested ones count.  False: it has no end. */
static bool skip_comment(struct scan *scan)
{
	size_t depth = 0;

	for (; scan->at < scan->len; scan->at++) {
		char c = scan->bytes[scan->at];

		if (c == '\\')
			scan->at++;
		else if (c == '(')
			depth++;
		else if (c == ')')
			depth--;
		if (depth == 0) {
			scan->at++;
			return true;
		}
	}
	return false;
}

static bool skip_cfws(struct scan *scan)
{
	for (;;) {
		while (scan->at < scan->len && white(scan->bytes[scan->at]))
			scan->at++;
		if (peek(scan) != '(')
			return true;
		if (!skip_comment(scan))
			return false;
	}
}

/* ------------------------------------------------------------------------------ words */

static bool skip_quoted(struct scan *scan)
{
	for (scan->at++; scan->at < scan->len; scan->at++) {
		char c = scan->bytes[scan->at];

		if (c == '\\') {
			scan->at++;
		} else if (c == '"') {
			scan->at++;
			return true;
		}
	}
	return false;
}

static bool read_word(struct scan *scan, struct words *words)
{
	char c = peek(scan);

	if (c == '"') {
		words->quoted = true;
		return skip_quoted(scan);
	}
	scan->at++;
	while (c != '.' && scan->at < scan->len && atext(scan->bytes[scan->at]))
		scan->at++;
	return true;
}

/* As many words as there are, and the CFWS behind them.  False: something has no end. */
static bool read_words(struct scan *scan, struct words *words)
{
	*words = (struct words){.at = scan->at, .end = scan->at};
	for (;;) {
		char c = peek(scan);

		if (c != '"' && c != '.' && !atext(c))
			return true;
		words->gaps |= words->count > 0 && words->end != scan->at;
		if (!read_word(scan, words))
			return false;
		words->count++;
		words->end = scan->at;
		if (!skip_cfws(scan))
			return false;
	}
}

/* ---------------------------------------------------------------------------- address */

/*
 * The content of a quoted local part.  Quotes that are not needed go.  Those that hide a character
 * of the grammar are refused: readers that do not know quoted local parts see another address in
 * "ceo@victim.example"@example.org.
 */
static enum from_status put_quoted(const char *raw, size_t len, char *out, size_t *out_len)
{
	bool dot_atom = len > 2, dot = true;
	size_t kept = 1;

	out[0] = '"';
	for (size_t i = 1; i < len - 1; i++) {
		char c = raw[i] == '\\' ? raw[++i] : raw[i];

		if (!atext(c) && c != '.' && c != ' ')
			return FROM_AMBIGUOUS;
		dot_atom &= atext(c) || (c == '.' && !dot);
		dot = c == '.';
		out[kept++] = c;
	}
	if (dot_atom && !dot) {
		memmove(out, out + 1, kept - 1);
		*out_len = kept - 1;
	} else {
		out[kept++] = '"';
		*out_len = kept;
	}
	return FROM_OK;
}

static enum from_status add_mailbox(
	struct scan *scan, const struct words *local, size_t domain, const struct words *name)
{
	struct from_mailbox *mailbox = &scan->out->mailboxes[scan->out->count];
	size_t local_len = local->end - local->at, domain_len = scan->at - domain;
	const char *raw = scan->bytes + local->at;
	char path[IPC_PATH_MAX + 4] = "<";
	size_t len = local_len, consumed;

	if (scan->out->count == FROM_MAILBOXES_MAX)
		return FROM_TOO_MANY;
	if (local_len + domain_len + 3 > sizeof(path) || memmem(raw, local_len, "\r\n", 2) != NULL)
		return FROM_SYNTAX;
	/* An encoded word must not stand there (RFC 2047 5), but there are readers that decode it.
	 */
	if (memmem(raw, local_len, "=?", 2) != NULL)
		return FROM_AMBIGUOUS;
	if (local->quoted) {
		enum from_status status = put_quoted(raw, local_len, path + 1, &len);

		if (status != FROM_OK)
			return status;
	} else {
		memcpy(path + 1, raw, local_len);
	}
	path[len + 1] = '@';
	memcpy(path + len + 2, scan->bytes + domain, domain_len);
	len += domain_len + 2;
	path[len++] = '>';
	if (!command_parse_path(path, len, false, false, &mailbox->path, &consumed) ||
		consumed != len)
		return FROM_SYNTAX;
	if (mailbox->path.utf8 && !scan->utf8)
		return FROM_NON_ASCII;
	mailbox->at = (uint32_t)local->at;
	mailbox->len = (uint32_t)(scan->at - local->at);
	mailbox->name_at = (uint32_t)name->at;
	mailbox->name_len = (uint32_t)(name->end - name->at);
	scan->out->count++;
	return FROM_OK;
}

/* At the "@" behind the local part; up to the last octet of the domain and the CFWS behind it. */
static enum from_status read_domain(
	struct scan *scan, const struct words *local, const struct words *name)
{
	enum from_status status;
	size_t domain;

	if (local->count == 0 || (local->quoted && local->count > 1))
		return FROM_SYNTAX;
	if (local->gaps) /* obs-local-part, or something else in front of it */
		return FROM_AMBIGUOUS;
	scan->at++;
	if (!skip_cfws(scan))
		return FROM_SYNTAX;
	domain = scan->at;
	if (peek(scan) == '[') {
		while (scan->at < scan->len && peek(scan) != ']')
			scan->at++;
		scan->at += scan->at < scan->len;
	} else {
		while (atext(peek(scan)) || peek(scan) == '.')
			scan->at++;
	}
	status = add_mailbox(scan, local, domain, name);
	if (status != FROM_OK)
		return status;
	if (!skip_cfws(scan))
		return FROM_SYNTAX;
	return peek(scan) == '.' ? FROM_AMBIGUOUS : FROM_OK; /* obs-domain: "example (x) .org" */
}

/* At the "<"; name is what stood before it. */
static enum from_status read_angle(struct scan *scan, const struct words *name)
{
	enum from_status status;
	struct words local;

	if (name->count > 0 && scan->bytes[name->at] == '.') /* a phrase begins with a word */
		return FROM_SYNTAX;
	scan->at++;
	if (!skip_cfws(scan))
		return FROM_SYNTAX;
	/* obs-route, "<@a,@b:c@d>": there are readers that take @a for the sender's domain. */
	if (peek(scan) == '@' || peek(scan) == ',')
		return FROM_AMBIGUOUS;
	if (!read_words(scan, &local))
		return FROM_SYNTAX;
	if (peek(scan) != '@')
		return peek(scan) == '>' ? FROM_NO_DOMAIN : FROM_SYNTAX;
	status = read_domain(scan, &local, name);
	if (status != FROM_OK)
		return status;
	if (peek(scan) != '>')
		return FROM_SYNTAX;
	scan->at++;
	return skip_cfws(scan) ? FROM_OK : FROM_SYNTAX;
}

/* --------------------------------------------------------------------------- the list */

static enum from_status open_group(struct scan *scan, const struct words *name, bool *in_group)
{
	if (*in_group || name->count == 0 || scan->bytes[name->at] == '.')
		return FROM_SYNTAX;
	*in_group = true;
	scan->out->group = true;
	scan->at++;
	return FROM_OK;
}

/* A mailbox, or a group's name and colon. */
static enum from_status read_address(struct scan *scan, bool *in_group)
{
	static const struct words nameless;
	struct words words;

	if (!read_words(scan, &words))
		return FROM_SYNTAX;
	switch (peek(scan)) {
	case '@':
		return read_domain(scan, &words, &nameless);
	case '<':
		return read_angle(scan, &words);
	case ':':
		return open_group(scan, &words, in_group);
	case '\0':
	case ',':
		return FROM_NO_DOMAIN;
	default:
		return FROM_SYNTAX;
	}
}

/* Behind a mailbox or a group: a comma, the end, or the end of the group.  *more: go on. */
static enum from_status read_separator(struct scan *scan, bool *in_group, bool *more)
{
	if (*in_group && peek(scan) == ';') {
		*in_group = false;
		scan->at++;
		if (!skip_cfws(scan))
			return FROM_SYNTAX;
	}
	*more = scan->at < scan->len;
	if (*more && peek(scan) != ',')
		return FROM_SYNTAX;
	scan->at += *more;
	return FROM_OK;
}

static enum from_status read_list(struct scan *scan)
{
	bool in_group = false, more = true;

	while (more) {
		enum from_status status = FROM_OK;
		bool was_in_group = in_group;

		if (!skip_cfws(scan))
			return FROM_SYNTAX;
		/* Nothing may stand between two commas, or before the end (obs-addr-list). */
		if (scan->at < scan->len && peek(scan) != ',' && !(in_group && peek(scan) == ';'))
			status = read_address(scan, &in_group);
		if (status == FROM_OK && in_group && !was_in_group)
			continue;
		if (status == FROM_OK)
			status = read_separator(scan, &in_group, &more);
		if (status != FROM_OK)
			return status;
	}
	return in_group ? FROM_SYNTAX : FROM_OK;
}

enum from_status from_parse(const char *value, size_t len, bool utf8, struct from_list *out)
{
	struct scan scan = {.bytes = value, .len = len, .utf8 = utf8, .out = out};
	enum from_status status;

	out->count = 0;
	out->group = false;
	if (len > FROM_VALUE_MAX)
		return FROM_TOO_LONG;
	status = check_octets(value, len);
	if (status == FROM_OK)
		status = read_list(&scan);
	if (status != FROM_OK)
		return status;
	if (out->count == 0)
		return FROM_EMPTY;
	return from_display_plain(value, len, out) ? FROM_OK : FROM_AMBIGUOUS;
}

const char *from_status_word(enum from_status status)
{
	switch (status) {
	case FROM_OK:
		return "ok";
	case FROM_EMPTY:
		return "empty";
	case FROM_SYNTAX:
		return "syntax";
	case FROM_NO_DOMAIN:
		return "no-domain";
	case FROM_CONTROL:
		return "control";
	case FROM_NON_ASCII:
		return "non-ascii";
	case FROM_AMBIGUOUS:
		return "ambiguous";
	case FROM_TOO_LONG:
		return "too-long";
	case FROM_TOO_MANY:
		return "too-many";
	}
	panic("no such status");
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool from_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	if (a_len != b_len)
		return false;
	for (size_t i = 0; i < a_len; i++) {
		if (lower(a[i]) != lower(b[i]))
			return false;
	}
	return true;
}
