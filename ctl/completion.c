/* SPDX-License-Identifier: ISC */
/*
 * posternctl completion ...: scripts that let a shell complete commands and options, written from
 * the tables themselves.  Logins are not completed: that would ask the database at every tab.
 *
 * Both shells get the same function body: it counts the words that are not options, and offers
 * what may follow them.
 */
#include "ctl/ctl.h"
#include "ctl/options.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* An option with two forms of a value has two rows. */
static bool same_as_before(size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (strcmp(options_row(i)->name, options_row(at)->name) == 0)
			return true;
	}
	return false;
}

/* "--plan|--memory|..." of the options that take a value. */
static void print_valued(void)
{
	const struct ctl_option *row;
	const char *between = "";

	for (size_t i = 0; (row = options_row(i)) != NULL; i++) {
		if (row->value == NULL || same_as_before(i))
			continue;
		(void)printf("%s%s", between, row->name);
		between = "|";
	}
}

static void print_options(unsigned bits)
{
	const struct ctl_option *row;
	const char *between = "";

	for (size_t i = 0; (row = options_row(i)) != NULL; i++) {
		if (row->bit != 0 && (row->bit & bits) == 0)
			continue;
		(void)printf("%s%s", between, row->name);
		between = " ";
	}
}

static bool seen_before(const struct ctl *ctl, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (strcmp(ctl->commands[i].noun, ctl->commands[at].noun) == 0)
			return true;
	}
	return false;
}

static void print_nouns(const struct ctl *ctl)
{
	(void)fputs("\t'') offered='", stdout);
	for (size_t i = 0; i < ctl->command_count; i++) {
		if (!seen_before(ctl, i))
			(void)printf("%s ", ctl->commands[i].noun);
	}
	(void)fputs("--help' ;;\n", stdout);
}

/* What follows a noun alone: its verbs; nothing of a command that is one word. */
static void print_verbs(const struct ctl *ctl, size_t noun)
{
	(void)printf("\t'%s') offered='", ctl->commands[noun].noun);
	for (size_t i = noun; i < ctl->command_count; i++) {
		if (strcmp(ctl->commands[i].noun, ctl->commands[noun].noun) == 0)
			(void)printf("%s ", ctl->commands[i].verb);
	}
	(void)fputs("--help' ;;\n", stdout);
}

static void print_command(const struct ctl_command *command)
{
	bool files = strstr(command->arguments, "FILE") != NULL;

	(void)printf("\t'%s%s%s'*) offered='", command->noun, command->verb[0] == '\0' ? "" : " ",
		command->verb);
	print_options(command->options);
	(void)printf("'%s ;;\n", files ? " files=1" : "");
}

static void print_cases(const struct ctl *ctl)
{
	(void)fputs("\tcase \"$given\" in\n", stdout);
	print_nouns(ctl);
	for (size_t i = 0; i < ctl->command_count; i++) {
		if (ctl->commands[i].verb[0] != '\0' && !seen_before(ctl, i))
			print_verbs(ctl, i);
	}
	for (size_t i = 0; i < ctl->command_count; i++)
		print_command(&ctl->commands[i]);
	(void)fputs("\tesac\n", stdout);
}

int ctl_completion_bash(struct ctl *ctl)
{
	(void)fputs("# Completion of posternctl in bash; made by `posternctl completion bash`.\n"
		    "_posternctl()\n{\n"
		    "\tlocal offered= files= given= i\n"
		    "\tCOMPREPLY=()\n"
		    "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		    "\t\tcase ${COMP_WORDS[i]} in\n\t\t",
		stdout);
	print_valued();
	(void)fputs(") i=$((i + 1)) ;;\n"
		    "\t\t-*) ;;\n"
		    "\t\t*) given=\"${given:+$given }${COMP_WORDS[i]}\" ;;\n"
		    "\t\tesac\n\tdone\n"
		    "\t[ \"$i\" -eq \"$COMP_CWORD\" ] || return 0\n",
		stdout);
	print_cases(ctl);
	(void)fputs("\tCOMPREPLY=($(compgen -W \"$offered\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
		    "\tif [ -n \"$files\" ] && [ ${#COMPREPLY[@]} -eq 0 ]; then\n"
		    "\t\tCOMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n\tfi\n"
		    "}\n"
		    "complete -F _posternctl posternctl\n",
		stdout);
	return EX_OK;
}

int ctl_completion_zsh(struct ctl *ctl)
{
	(void)fputs("#compdef posternctl\n"
		    "# Completion of posternctl in zsh; made by `posternctl completion zsh`.\n"
		    "_posternctl()\n{\n"
		    "\tlocal offered= files= given= i\n"
		    "\tfor ((i = 2; i < CURRENT; i++)); do\n"
		    "\t\tcase ${words[i]} in\n\t\t",
		stdout);
	print_valued();
	(void)fputs(") i=$((i + 1)) ;;\n"
		    "\t\t-*) ;;\n"
		    "\t\t*) given=\"${given:+$given }${words[i]}\" ;;\n"
		    "\t\tesac\n\tdone\n"
		    "\t[ \"$i\" -eq \"$CURRENT\" ] || return 0\n",
		stdout);
	print_cases(ctl);
	(void)fputs("\tcompadd -- ${=offered}\n"
		    "\t[ -z \"$files\" ] || _files\n"
		    "}\n"
		    "# Loaded from $fpath at the first use, or sourced.\n"
		    "if [ \"$funcstack[1]\" = _posternctl ]; then\n"
		    "\t_posternctl \"$@\"\nelse\n\tcompdef _posternctl posternctl\nfi\n",
		stdout);
	return EX_OK;
}
