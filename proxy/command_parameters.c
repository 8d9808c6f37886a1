/* SPDX-License-Identifier: ISC */
/*
 * The arguments of MAIL and RCPT: a path, then parameters from one list of what Postern knows. What
 * is not on it, was not offered, or comes twice is refused, never passed on (RFC 5321 4.1.1.11).
 *
 * Values end up in a backend's command: xtext is checked decoded, so that no CR, LF or NUL hides in
 * it (smtp-server db1f3d4).  Proxy process, loop thread; pure.
 */
#include "proxy/command_grammar.h"

#include <string.h>
#include <strings.h>

enum { AUTH_MAX = 500, SIZE_DIGITS_MAX = 20 }; /* RFC 4954 3, 1870 4 */

struct value {
	const char *bytes; /* NULL: there was no "=" */
	size_t len;
};

static bool value_is(struct value value, const char *word)
{
	return value.len == strlen(word) && strncasecmp(value.bytes, word, value.len) == 0;
}

/* ---------------------------------------------------------------- values */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/*
 * Decodes xtext (RFC 3461 4: printable but '+' and '=', or '+' and two upper-case hex digits). Each
 * decoded octet must be printable ASCII or, with utf8, part of a raw or encoded character above it.
 * Returns the decoded length, 0 on anything else; out holds len octets.
 */
static size_t xtext_decode(struct value value, bool utf8, char *out)
{
	size_t len = 0;

	for (size_t at = 0; at < value.len; at++) {
		char c = value.bytes[at];

		if (c == '+') {
			int high, low;

			if (value.len - at < 3)
				return 0;
			high = hex_digit(value.bytes[at + 1]);
			low = hex_digit(value.bytes[at + 2]);
			if (high == -1 || low == -1)
				return 0;
			c = (char)(high << 4 | low);
			at += 2;
		} else if (c == '=' || (c >= 0 && c <= ' ')) {
			return 0;
		}
		out[len++] = c;
	}
	for (size_t at = 0; at < len;) {
		size_t step = out[at] >= ' ' && out[at] <= '~' ? 1 : 0;

		if (step == 0 && utf8)
			step = grammar_utf8(out + at, len - at);
		if (step == 0)
			return 0;
		at += step;
	}
	return len;
}

static bool parse_size(struct value value, struct mail_arguments *mail)
{
	uint64_t size = 0;

	if (value.len == 0 || value.len > SIZE_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < value.len; i++) {
		uint64_t digit = (uint64_t)(value.bytes[i] - '0');

		if (value.bytes[i] < '0' || value.bytes[i] > '9')
			return false;
		if (__builtin_mul_overflow(size, 10u, &size) ||
			__builtin_add_overflow(size, digit, &size))
			size = UINT64_MAX;
	}
	mail->has_size = true;
	mail->size = size;
	return true;
}

/* RFC 6152 2, 3030 3: BODY belongs to two extensions, which need not be offered both. */
static bool parse_body(struct value value, unsigned allowed, struct mail_arguments *mail)
{
	if (value_is(value, "7BIT"))
		mail->body = BODY_7BIT;
	else if (value_is(value, "8BITMIME") && (allowed & CAPABILITY_8BITMIME) != 0)
		mail->body = BODY_8BITMIME;
	else if (value_is(value, "BINARYMIME") && (allowed & CAPABILITY_BINARYMIME) != 0)
		mail->body = BODY_BINARYMIME;
	return mail->body != BODY_UNSTATED;
}

static bool parse_smtputf8(struct value value, struct mail_arguments *mail)
{
	mail->smtputf8 = value.bytes == NULL; /* RFC 6531 3.1 (8): it has no value */
	return mail->smtputf8;
}

static bool parse_ret(struct value value, struct mail_arguments *mail)
{
	if (value_is(value, "FULL"))
		mail->ret = RET_FULL;
	else if (value_is(value, "HDRS"))
		mail->ret = RET_HDRS;
	return mail->ret != RET_UNSTATED;
}

static bool parse_envid(struct value value, struct mail_arguments *mail)
{
	char decoded[ENVID_MAX];

	if (value.len > ENVID_MAX || xtext_decode(value, false, decoded) == 0)
		return false;
	mail->envid_len = (uint16_t)value.len;
	memcpy(mail->envid, value.bytes, value.len);
	return true;
}

/* Whom the client says the message is from: we trust no client so far, and drop it (RFC 4954 5). */
static bool parse_auth(struct value value, struct mail_arguments *mail)
{
	char decoded[AUTH_MAX];
	size_t len;

	if (value.len > AUTH_MAX)
		return false;
	len = xtext_decode(value, true, decoded);
	mail->has_auth = value_is(value, "<>") || grammar_mailbox(decoded, len, false);
	return mail->has_auth;
}

static bool notify_word(struct value word, unsigned *notify)
{
	static const struct {
		const char *name;
		enum dsn_notify bit;
	} words[] = {{"NEVER", NOTIFY_NEVER}, {"SUCCESS", NOTIFY_SUCCESS},
		{"FAILURE", NOTIFY_FAILURE}, {"DELAY", NOTIFY_DELAY}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (value_is(word, words[i].name) && (*notify & words[i].bit) == 0) {
			*notify |= words[i].bit;
			return true;
		}
	}
	return false;
}

static bool parse_notify(struct value value, struct rcpt_arguments *rcpt)
{
	for (size_t at = 0; at <= value.len;) {
		struct value word = {.bytes = value.bytes + at};

		while (at < value.len && value.bytes[at] != ',')
			at++;
		word.len = (size_t)(value.bytes + at - word.bytes);
		if (!notify_word(word, &rcpt->notify))
			return false;
		at++;
	}
	/* RFC 3461 4.1: NEVER stands alone. */
	return (rcpt->notify & NOTIFY_NEVER) == 0 || rcpt->notify == NOTIFY_NEVER;
}

/* "type;xtext" (RFC 3461 4.2); the type utf-8 may hold characters as they are (RFC 6533 3). */
static bool parse_orcpt(struct value value, bool utf8_ok, struct rcpt_arguments *rcpt)
{
	char decoded[ORCPT_MAX];
	struct value type = {.bytes = value.bytes}, address;

	if (value.len > ORCPT_MAX)
		return false;
	while (type.len < value.len && value.bytes[type.len] != ';') {
		char c = value.bytes[type.len++];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    c == '-'))
			return false;
	}
	if (type.len == 0 || type.len == value.len)
		return false;
	address.bytes = value.bytes + type.len + 1;
	address.len = value.len - type.len - 1;
	if (xtext_decode(address, utf8_ok && value_is(type, "utf-8"), decoded) == 0)
		return false;
	rcpt->orcpt_len = (uint16_t)value.len;
	memcpy(rcpt->orcpt, value.bytes, value.len);
	return true;
}

/* ------------------------------------------------------------- parameters */

enum parameter {
	PARAMETER_SIZE,
	PARAMETER_BODY,
	PARAMETER_SMTPUTF8,
	PARAMETER_RET,
	PARAMETER_ENVID,
	PARAMETER_AUTH,
	PARAMETER_REQUIRETLS,
	PARAMETER_NOTIFY,
	PARAMETER_ORCPT,
	PARAMETER_COUNT,
};

static const struct {
	const char *name;
	unsigned needs; /* enum ipc_capability, any of them; 0: always known */
	bool of_mail;   /* or of RCPT */
} parameters[PARAMETER_COUNT] = {
	[PARAMETER_SIZE] = {"SIZE", CAPABILITY_SIZE, true},
	[PARAMETER_BODY] = {"BODY", CAPABILITY_8BITMIME | CAPABILITY_BINARYMIME, true},
	[PARAMETER_SMTPUTF8] = {"SMTPUTF8", CAPABILITY_SMTPUTF8, true},
	[PARAMETER_RET] = {"RET", CAPABILITY_DSN, true},
	[PARAMETER_ENVID] = {"ENVID", CAPABILITY_DSN, true},
	[PARAMETER_AUTH] = {"AUTH", 0, true},
	[PARAMETER_REQUIRETLS] = {"REQUIRETLS", 0, true},
	[PARAMETER_NOTIFY] = {"NOTIFY", CAPABILITY_DSN, false},
	[PARAMETER_ORCPT] = {"ORCPT", CAPABILITY_DSN, false},
};

struct target {
	struct mail_arguments *mail; /* or */
	struct rcpt_arguments *rcpt;
	unsigned allowed;
	bool utf8_ok;
	unsigned seen; /* bits of enum parameter */
};

static bool parse_value(enum parameter parameter, struct value value, struct target *target)
{
	if (parameter != PARAMETER_SMTPUTF8 && value.len == 0)
		return false;
	switch (parameter) {
	case PARAMETER_REQUIRETLS:
		return false;
	case PARAMETER_SIZE:
		return parse_size(value, target->mail);
	case PARAMETER_BODY:
		return parse_body(value, target->allowed, target->mail);
	case PARAMETER_SMTPUTF8:
		return parse_smtputf8(value, target->mail);
	case PARAMETER_RET:
		return parse_ret(value, target->mail);
	case PARAMETER_ENVID:
		return parse_envid(value, target->mail);
	case PARAMETER_AUTH:
		return parse_auth(value, target->mail);
	case PARAMETER_NOTIFY:
		return parse_notify(value, target->rcpt);
	case PARAMETER_ORCPT:
		return parse_orcpt(value, target->utf8_ok, target->rcpt);
	case PARAMETER_COUNT:
		break;
	}
	return false;
}

static enum parameter parameter_of(struct value keyword, const struct target *target)
{
	for (unsigned i = 0; i < PARAMETER_COUNT; i++) {
		if (parameters[i].of_mail == (target->mail != NULL) &&
			value_is(keyword, parameters[i].name))
			return (enum parameter)i;
	}
	return PARAMETER_COUNT;
}

static bool keyword_valid(struct value keyword)
{
	for (size_t i = 0; i < keyword.len; i++) {
		char c = keyword.bytes[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    (c == '-' && i > 0)))
			return false;
	}
	return keyword.len > 0;
}

/* REQUIRETLS never is; with a value it is a syntax error even so (RFC 8689 4.1). */
static bool is_offered(enum parameter parameter, struct value value, const struct target *target)
{
	unsigned needs = parameters[parameter].needs;

	if (parameter == PARAMETER_REQUIRETLS)
		return value.bytes != NULL;
	return needs == 0 || (needs & target->allowed) != 0;
}

/* One "KEYWORD" or "KEYWORD=value", without spaces. */
static enum command_status parse_parameter(struct value text, struct target *target)
{
	const char *equals = memchr(text.bytes, '=', text.len);
	struct value keyword = text, value = {.bytes = NULL};
	enum parameter parameter;

	if (equals != NULL) {
		keyword.len = (size_t)(equals - text.bytes);
		value.bytes = equals + 1;
		value.len = text.len - keyword.len - 1;
	}
	if (!keyword_valid(keyword))
		return COMMAND_SYNTAX;
	parameter = parameter_of(keyword, target);
	if (parameter == PARAMETER_COUNT || !is_offered(parameter, value, target) ||
		(target->seen & 1u << parameter) != 0)
		return COMMAND_PARAMETER;
	target->seen |= 1u << parameter;
	return parse_value(parameter, value, target) ? COMMAND_OK : COMMAND_PARAMETER_VALUE;
}

static enum command_status parse_parameters(const char *bytes, size_t len, struct target *target)
{
	enum command_status status = COMMAND_OK;
	size_t at = 0;

	if (len > 0 && bytes[0] != ' ')
		return COMMAND_SYNTAX;
	while (status == COMMAND_OK) {
		struct value text;

		while (at < len && bytes[at] == ' ')
			at++;
		if (at == len)
			break;
		text.bytes = bytes + at;
		while (at < len && bytes[at] != ' ')
			at++;
		text.len = (size_t)(bytes + at - text.bytes);
		status = parse_parameter(text, target);
	}
	return status;
}

/* The octets after "FROM:" or "TO:" and spaces (RFC 5321 appendix F's leniency); len: not there. */
static size_t after_keyword(const char *args, size_t len, const char *keyword)
{
	size_t at = strlen(keyword);

	if (len < at || strncasecmp(args, keyword, at) != 0)
		return len;
	while (at < len && args[at] == ' ')
		at++;
	return at;
}

static bool all_ascii(const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((uint8_t)bytes[i] > 127)
			return false;
	}
	return true;
}

enum command_status command_parse_mail(
	const char *args, size_t len, unsigned allowed, struct mail_arguments *out)
{
	struct target target = {.mail = out, .allowed = allowed};
	size_t at = after_keyword(args, len, "FROM:"), path;
	enum command_status status;

	memset(out, 0, sizeof(*out));
	if (at == len)
		return COMMAND_SYNTAX;
	if (!command_parse_path(args + at, len - at, true, false, &out->sender, &path))
		return all_ascii(args + at, len - at) ? COMMAND_ADDRESS : COMMAND_UTF8;
	at += path;
	status = parse_parameters(args + at, len - at, &target);
	if (status == COMMAND_OK && out->sender.utf8 && !out->smtputf8)
		return COMMAND_UTF8; /* RFC 6531 3.5 */
	return status;
}

enum command_status command_parse_rcpt(
	const char *args, size_t len, unsigned allowed, bool utf8_ok, struct rcpt_arguments *out)
{
	struct target target = {.rcpt = out, .allowed = allowed, .utf8_ok = utf8_ok};
	size_t at = after_keyword(args, len, "TO:"), path;

	memset(out, 0, sizeof(*out));
	if (at == len)
		return COMMAND_SYNTAX;
	if (!command_parse_path(args + at, len - at, false, true, &out->recipient, &path))
		return all_ascii(args + at, len - at) ? COMMAND_ADDRESS : COMMAND_UTF8;
	if (out->recipient.utf8 && !utf8_ok)
		return COMMAND_UTF8;
	at += path;
	return parse_parameters(args + at, len - at, &target);
}
