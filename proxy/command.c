/* SPDX-License-Identifier: ISC */
/*
 * A command line's verb and where its arguments are.  The arguments' grammar is in command_path.c
 * and command_parameters.c; which verb is legal when is the session's table. Proxy process, loop
 * thread; pure.
 */
#include "proxy/command.h"

#include <string.h>
#include <strings.h>

struct verb_name {
	const char *name;
	enum verb verb;
};

/* The ones below VERB_HELP are common; a linear search over all takes less than a microsecond. */
static const struct verb_name names[] = {
	{"MAIL", VERB_MAIL},
	{"RCPT", VERB_RCPT},
	{"DATA", VERB_DATA},
	{"BDAT", VERB_BDAT},
	{"EHLO", VERB_EHLO},
	{"HELO", VERB_HELO},
	{"AUTH", VERB_AUTH},
	{"STARTTLS", VERB_STARTTLS},
	{"RSET", VERB_RSET},
	{"NOOP", VERB_NOOP},
	{"QUIT", VERB_QUIT},
	{"VRFY", VERB_VRFY},
	{"HELP", VERB_HELP},
	/* RFC 5321, its ancestors and its extensions; what servers of old had; PROXY in
	   mid-session. */
	{"EXPN", VERB_UNIMPLEMENTED},
	{"BURL", VERB_UNIMPLEMENTED},
	{"ETRN", VERB_UNIMPLEMENTED},
	{"ATRN", VERB_UNIMPLEMENTED},
	{"TURN", VERB_UNIMPLEMENTED},
	{"SEND", VERB_UNIMPLEMENTED},
	{"SOML", VERB_UNIMPLEMENTED},
	{"SAML", VERB_UNIMPLEMENTED},
	{"VERB", VERB_UNIMPLEMENTED},
	{"ONEX", VERB_UNIMPLEMENTED},
	{"DEBUG", VERB_UNIMPLEMENTED},
	{"WIZ", VERB_UNIMPLEMENTED},
	{"TICK", VERB_UNIMPLEMENTED},
	{"XCLIENT", VERB_UNIMPLEMENTED},
	{"XFORWARD", VERB_UNIMPLEMENTED},
	{"XEXCH50", VERB_UNIMPLEMENTED},
	{"X-EXPS", VERB_UNIMPLEMENTED},
	{"XADR", VERB_UNIMPLEMENTED},
	{"XSTA", VERB_UNIMPLEMENTED},
	{"LHLO", VERB_UNIMPLEMENTED},
	{"PROXY", VERB_UNIMPLEMENTED},
	/* RFC 9110 9, 5789, 9113 3.4, RTSP and SIP borrow them: a browser was talked into this. */
	{"GET", VERB_FOREIGN},
	{"POST", VERB_FOREIGN},
	{"PUT", VERB_FOREIGN},
	{"HEAD", VERB_FOREIGN},
	{"CONNECT", VERB_FOREIGN},
	{"OPTIONS", VERB_FOREIGN},
	{"DELETE", VERB_FOREIGN},
	{"TRACE", VERB_FOREIGN},
	{"PATCH", VERB_FOREIGN},
	{"PRI", VERB_FOREIGN},
};

static enum verb verb_of(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i].name) == len && strncasecmp(names[i].name, name, len) == 0)
			return names[i].verb;
	}
	return VERB_UNKNOWN;
}

struct command command_split(const char *line, size_t len)
{
	struct command command = {.verb = VERB_UNKNOWN, .args = line, .args_len = 0};
	size_t at = 0;

	/* RFC 5321 4.1.1: white space before the CRLF should be tolerated. */
	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	while (at < len && line[at] != ' ')
		at++;
	if (at == 0)
		return command;
	command.verb = verb_of(line, at);
	while (at < len && line[at] == ' ')
		at++;
	command.args = line + at;
	command.args_len = len - at;
	return command;
}

bool command_parse_bdat(const char *args, size_t len, struct bdat_arguments *out)
{
	static const char last[] = " LAST";
	size_t at = 0;

	*out = (struct bdat_arguments){0};
	while (at < len && args[at] >= '0' && args[at] <= '9') {
		uint64_t digit = (uint64_t)(args[at++] - '0');

		if (out->size > (BDAT_SIZE_MAX - digit) / 10)
			return false;
		out->size = out->size * 10 + digit;
	}
	if (at == 0)
		return false;
	out->last = len - at == strlen(last) && strncasecmp(args + at, last, strlen(last)) == 0;
	return out->last || at == len;
}

bool command_name_valid(const char *name, size_t len)
{
	if (len == 0 || len > COMMAND_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] < ' ' || name[i] > '~')
			return false;
	}
	return true;
}
