/* SPDX-License-Identifier: ISC */
/*
 * Commands: the first octet says what was offered, the rest is a line.  Whatever is accepted must
 * be rebuilt as one line of a command, without any octet that could end it, and that line must be
 * read as the same again.
 */
#include "proxy/command.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

enum { ALL = CAPABILITY_SIZE | CAPABILITY_8BITMIME | CAPABILITY_SMTPUTF8 | CAPABILITY_DSN };

static void check_built(const char *built, size_t len, const char *start, bool utf8)
{
	must(len > strlen(start) + 2 && len <= COMMAND_FORMAT_MAX);
	must(memcmp(built, start, strlen(start)) == 0);
	must(memcmp(built + len - 2, "\r\n", 2) == 0);
	for (size_t i = 0; i < len - 2; i++) {
		uint8_t c = (uint8_t)built[i];

		must(c >= ' ' && c != 0x7F && (c < 0x80 || utf8));
	}
}

static void check_path(const struct path *path)
{
	bool utf8 = false;

	must(path->len <= IPC_PATH_MAX && path->text[path->len] == '\0');
	must(strlen(path->text) == path->len);
	for (size_t i = 0; i < path->len; i++)
		utf8 |= (uint8_t)path->text[i] > 127;
	must(utf8 == path->utf8);
}

static void check_mail(const struct command *command, unsigned allowed)
{
	struct mail_arguments mail, again;
	char built[COMMAND_FORMAT_MAX], rebuilt[COMMAND_FORMAT_MAX];
	size_t len;

	if (command_parse_mail(command->args, command->args_len, allowed, &mail) != COMMAND_OK)
		return;
	check_path(&mail.sender);
	must(!mail.sender.utf8 || mail.smtputf8);
	must((command_mail_needs(&mail) & ~allowed) == 0);
	len = command_format_mail(&mail, allowed, built);
	check_built(built, len, "MAIL FROM:<", mail.smtputf8);
	must(command_parse_mail(built + 5, len - 7, allowed, &again) == COMMAND_OK);
	must(command_format_mail(&again, allowed, rebuilt) == len);
	must(memcmp(built, rebuilt, len) == 0);
}

static void check_rcpt(const struct command *command, unsigned allowed, bool utf8_ok)
{
	struct rcpt_arguments rcpt, again;
	char built[COMMAND_FORMAT_MAX], rebuilt[COMMAND_FORMAT_MAX];
	size_t len;

	if (command_parse_rcpt(command->args, command->args_len, allowed, utf8_ok, &rcpt) !=
		COMMAND_OK)
		return;
	check_path(&rcpt.recipient);
	must(rcpt.recipient.len > 0);
	len = command_format_rcpt(&rcpt, allowed, built);
	check_built(built, len, "RCPT TO:<", utf8_ok);
	must(command_parse_rcpt(built + 5, len - 7, allowed, utf8_ok, &again) == COMMAND_OK);
	must(command_format_rcpt(&again, allowed, rebuilt) == len);
	must(memcmp(built, rebuilt, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct command command;
	unsigned allowed;
	char *line;

	if (size == 0)
		return 0;
	allowed = data[0] == 0 ? ALL : data[0] & ALL;
	line = malloc(size);
	must(line != NULL);
	memcpy(line, data + 1, size - 1);
	command = command_split(line, size - 1);
	must(command.verb < VERB_COUNT);
	must(command.args >= line && command.args + command.args_len <= line + size - 1);
	/* Both parsers see every line: one of them expects other words. */
	check_mail(&command, allowed);
	check_rcpt(&command, allowed, (data[0] & 1) == 0);
	(void)command_name_valid(command.args, command.args_len);
	free(line);
	return 0;
}
