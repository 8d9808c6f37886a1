/* SPDX-License-Identifier: ISC */
/* Help; see usage.h. */
#include "ctl/usage.h"

#include "ctl/options.h"

#include <stdio.h>
#include <string.h>

static void print_options(unsigned bits)
{
	const struct ctl_option *row;

	for (size_t i = 0; (row = options_row(i)) != NULL; i++) {
		char left[40];

		if (row->bit != 0 && (row->bit & bits) == 0)
			continue;
		(void)snprintf(left, sizeof(left), "%s %s", row->name,
			row->value == NULL ? "" : row->value);
		(void)printf("  %-22s %s\n", left, row->help);
	}
}

/* "account add LOGIN", without spaces where a word is missing. */
static void print_words(const struct ctl_command *command)
{
	const char *const words[] = {command->noun, command->verb, command->arguments};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (words[i][0] != '\0')
			(void)printf("%s%s", i == 0 ? "" : " ", words[i]);
	}
}

void usage_print_command(const struct ctl_command *command)
{
	(void)fputs("Usage: posternctl ", stdout);
	print_words(command);
	(void)printf(" [OPTION]...\n\n%s\n\nOptions:\n", command->summary);
	print_options(command->options);
}

void usage_print_commands(const struct ctl *ctl, const char *noun)
{
	(void)fputs("Usage: posternctl COMMAND [OPTION]...\n\nCommands:\n", stdout);
	for (size_t i = 0; i < ctl->command_count; i++) {
		if (noun != NULL && strcmp(ctl->commands[i].noun, noun) != 0)
			continue;
		(void)fputs("  ", stdout);
		print_words(&ctl->commands[i]);
		(void)fputc('\n', stdout);
	}
	(void)fputs("\nOptions of every command:\n", stdout);
	print_options(0);
	(void)fputs("\nposternctl COMMAND --help tells more.\n", stdout);
}
