/* SPDX-License-Identifier: ISC */
/*
 * Command line; see options.h.  Hand-made rather than getopt_long: which options are legal depends
 * on the command, and one table of options serves parsing, checking, help and completion.
 */
#include "ctl/options.h"

#include "ctl/output.h"
#include "ctl/usage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { ANY_COMMAND = 0, JOBS_MAX = 256, INTERVAL_S_MAX = 3600 };

bool options_parse_size(const char *text, uint64_t *bytes_out)
{
	static const struct {
		const char *suffix;
		unsigned shift;
	} units[] = {{"", 0}, {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
	uint64_t value = 0;
	size_t digits = 0;

	for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
		if (digits == 16)
			return false;
		value = value * 10 + (uint64_t)(text[digits] - '0');
	}
	for (size_t i = 0; digits > 0 && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text + digits, units[i].suffix) != 0)
			continue;
		*bytes_out = value << units[i].shift;
		return value <= (UINT64_C(1) << 53) >> units[i].shift;
	}
	return false;
}

static bool take_dsn(struct ctl *ctl, const char *value)
{
	ctl->dsn = value;
	return true;
}

static bool take_json(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->json = true;
	return true;
}

static bool take_help(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->help = true;
	return true;
}

static bool take_plan(struct ctl *ctl, const char *value)
{
	ctl->plan = value;
	ctl->plan_given = true;
	return true;
}

static bool take_no_password(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->no_password = true;
	return true;
}

static bool take_memory(struct ctl *ctl, const char *value)
{
	return options_parse_size(value, &ctl->cost.memory_bytes);
}

static bool take_passes(struct ctl *ctl, const char *value)
{
	uint64_t passes;

	if (!options_parse_size(value, &passes) || passes > PASSWORD_PASSES_MAX)
		return false;
	ctl->cost.passes = (unsigned)passes;
	return true;
}

static bool take_sql(struct ctl *ctl, const char *value)
{
	ctl->sql_directory = value;
	return true;
}

static bool take_after(struct ctl *ctl, const char *value)
{
	ctl->after = value;
	return true;
}

static bool take_limit(struct ctl *ctl, const char *value)
{
	uint64_t limit;

	if (!options_parse_size(value, &limit) || limit == 0)
		return false;
	ctl->limit = (unsigned long)limit;
	return true;
}

static bool take_rotate(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->rotate = true;
	return true;
}

static bool take_dry_run(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->dry_run = true;
	return true;
}

static bool take_label(struct ctl *ctl, const char *value)
{
	ctl->label = value;
	return true;
}

static bool take_expires(struct ctl *ctl, const char *value)
{
	ctl->expires = value;
	return true;
}

static bool take_from(struct ctl *ctl, const char *value)
{
	ctl->from = value;
	return true;
}

static bool take_pepper(struct ctl *ctl, const char *value)
{
	ctl->pepper = value;
	return true;
}

static bool take_word(struct ctl_words *words, const char *value)
{
	if (words->count == CTL_WORDS_MAX)
		return false;
	words->word[words->count++] = value;
	return true;
}

static bool take_network(struct ctl *ctl, const char *value)
{
	return take_word(&ctl->networks, value);
}

static bool take_sender(struct ctl *ctl, const char *value)
{
	return take_word(&ctl->senders, value);
}

/* KEY=VALUE; settings.h looks into it. */
static bool take_setting(struct ctl *ctl, const char *value)
{
	const char *sign = strchr(value, '=');

	return sign != NULL && sign != value && take_word(&ctl->limits, value);
}

static bool take_all(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->all = true;
	return true;
}

static bool take_own_limit(struct ctl *ctl, enum ctl_own_limit which, const char *value)
{
	size_t digits = strspn(value, "0123456789");

	ctl->own_limits[which] = value;
	return digits > 0 && digits <= 15 && value[digits] == '\0';
}

static bool take_messages_hour(struct ctl *ctl, const char *value)
{
	return take_own_limit(ctl, CTL_MESSAGES_HOUR, value);
}

static bool take_messages_day(struct ctl *ctl, const char *value)
{
	return take_own_limit(ctl, CTL_MESSAGES_DAY, value);
}

static bool take_recipients_hour(struct ctl *ctl, const char *value)
{
	return take_own_limit(ctl, CTL_RECIPIENTS_HOUR, value);
}

static bool take_recipients_day(struct ctl *ctl, const char *value)
{
	return take_own_limit(ctl, CTL_RECIPIENTS_DAY, value);
}

/* "90s", "15m", "2h", "30d". */
static bool parse_time(const char *value, uint64_t *seconds_out)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t digits = strspn(value, "0123456789");
	uint64_t number;
	char text[8];

	if (digits == 0 || digits >= sizeof(text) || strlen(value) != digits + 1)
		return false;
	(void)snprintf(text, sizeof(text), "%.*s", (int)digits, value);
	if (!options_parse_size(text, &number) || number == 0)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (value[digits] == units[i].unit) {
			*seconds_out = number * units[i].seconds;
			return true;
		}
	}
	return false;
}

static bool take_for(struct ctl *ctl, const char *value)
{
	return parse_time(value, &ctl->for_s);
}

static bool take_interval(struct ctl *ctl, const char *value)
{
	return parse_time(value, &ctl->interval_s) && ctl->interval_s <= INTERVAL_S_MAX;
}

static bool take_by(struct ctl *ctl, const char *value, const char *const *words)
{
	ctl->by = value;
	for (; *words != NULL; words++) {
		if (strcmp(value, *words) == 0)
			return true;
	}
	return false;
}

static bool take_usage_by(struct ctl *ctl, const char *value)
{
	static const char *const words[] = {
		"day", "month", "account", "tenant", "credential", NULL};

	return take_by(ctl, value, words);
}

static bool take_top_by(struct ctl *ctl, const char *value)
{
	static const char *const words[] = {"account", "tenant", "address", NULL};

	return take_by(ctl, value, words);
}

static bool take_of_account(struct ctl *ctl, const char *value)
{
	ctl->of_account = value;
	return value[0] != '\0';
}

static bool take_of_tenant(struct ctl *ctl, const char *value)
{
	ctl->of_tenant = value;
	return true;
}

static bool take_queue_id(struct ctl *ctl, const char *value)
{
	ctl->queue_id = value;
	return true;
}

static bool take_transaction(struct ctl *ctl, const char *value)
{
	ctl->transaction = value;
	return true;
}

static bool take_client(struct ctl *ctl, const char *value)
{
	ctl->client = value;
	return true;
}

static bool take_csv(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->csv = true;
	return true;
}

static bool take_once(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->once = true;
	return true;
}

static bool take_reason(struct ctl *ctl, const char *value)
{
	ctl->reason = value;
	return true;
}

static bool take_update(struct ctl *ctl, const char *value)
{
	(void)value;
	ctl->update = true;
	return true;
}

static bool take_jobs(struct ctl *ctl, const char *value)
{
	uint64_t jobs;

	if (!options_parse_size(value, &jobs) || jobs == 0 || jobs > JOBS_MAX)
		return false;
	ctl->jobs = (unsigned)jobs;
	return true;
}

static bool take_since(struct ctl *ctl, const char *value)
{
	ctl->since = value;
	return true;
}

static bool take_until(struct ctl *ctl, const char *value)
{
	ctl->until = value;
	return true;
}

static bool take_id(struct ctl *ctl, const char *value)
{
	uint64_t id;

	ctl->account_id = value;
	return options_parse_size(value, &id);
}

static const struct ctl_option options[] = {
	{"--plan", "PLAN", CTL_PLAN, take_plan, "the plan of the account (default: default)"},
	{"--no-password", NULL, CTL_NO_PASSWORD, take_no_password,
		"ask for none: nobody can log in with a password"},
	{"--memory", "SIZE", CTL_COST, take_memory, "memory of the hash (default: 64MiB)"},
	{"--passes", "N", CTL_COST, take_passes, "passes of the hash (default: 2)"},
	{"--sql", "DIR", CTL_SQL, take_sql, "where the migrations are (default: as installed)"},
	{"--after", "LOGIN", CTL_PAGE, take_after, "only accounts after this login"},
	{"--limit", "N", CTL_LIMIT, take_limit, "at most so many rows (default: all)"},
	{"--rotate", NULL, CTL_ROTATE, take_rotate, "make a new one; the old one names nobody"},
	{"--dry-run", NULL, CTL_DRY_RUN, take_dry_run, "say what would be done, and do nothing"},
	{"--since", "TIME", CTL_SPAN, take_since, "only what happened then or later"},
	{"--until", "TIME", CTL_SPAN, take_until, "only what happened before"},
	{"--id", "ACCOUNT_ID", CTL_HISTORY, take_id, "of this account, which may be deleted"},
	{"--jobs", "N", CTL_IMPORT, take_jobs, "passwords hashed at a time (default: one a CPU)"},
	{"--label", "TEXT", CTL_CREDENTIAL, take_label, "what it is for, for people"},
	{"--network", "CIDR", CTL_CREDENTIAL, take_network,
		"only from there; may be given several times (default: from anywhere)"},
	{"--sender", "SENDER", CTL_CREDENTIAL, take_sender,
		"only as this ADDRESS or @DOMAIN of the account's; likewise"},
	{"--expires", "TIME", CTL_CREDENTIAL, take_expires,
		"when it ends: 30d, 12h or 2027-01-01 (default: never)"},
	{"--limit", "KEY=VALUE", CTL_OWN, take_setting,
		"a limit of its own, besides the account's, as limits set takes it; likewise"},
	{"--messages-hour", "N", CTL_OWN, take_messages_hour, "--limit messages_hour=N"},
	{"--messages-day", "N", CTL_OWN, take_messages_day, "--limit messages_day=N"},
	{"--recipients-hour", "N", CTL_OWN, take_recipients_hour, "--limit recipients_hour=N"},
	{"--recipients-day", "N", CTL_OWN, take_recipients_day, "--limit recipients_day=N"},
	{"--all", NULL, CTL_ALL, take_all, "what is not limited, too"},
	{"--pepper", "FILE", CTL_PEPPER, take_pepper,
		"the key to hash it under (default: POSTERN_PEPPER)"},
	{"--from", "ADDRESS", CTL_FROM, take_from, "as if the client came from there"},
	{"--from", "ADDRESS|@DOMAIN", CTL_LOG, take_from, "only what this sender wrote"},
	{"--queue-id", "ID", CTL_LOG, take_queue_id, "only what the server behind calls so"},
	{"--id", "TRANSACTION", CTL_LOG, take_transaction, "only this transaction"},
	{"--client", "CIDR", CTL_LOG, take_client, "only what came from there"},
	{"--account", "LOGIN", CTL_USAGE, take_of_account, "only of this account"},
	{"--tenant", "NAME", CTL_USAGE, take_of_tenant, "only of this tenant and those below it"},
	{"--by", "WHAT", CTL_USAGE, take_usage_by,
		"a row each day, month, account, tenant or credential (default: day)"},
	{"--csv", NULL, CTL_USAGE, take_csv, "CSV as in RFC 4180, without the total"},
	{"--by", "WHAT", CTL_TOP, take_top_by,
		"a row each account, tenant or address of a client (default: account)"},
	{"--interval", "TIME", CTL_TOP, take_interval, "how often: 5s or 1m (default: 2s)"},
	{"--once", NULL, CTL_TOP, take_once, "print it once, and end"},
	{"--for", "TIME", CTL_BLOCK, take_for, "how long: 90s, 15m, 2h or 30d (default: 1h)"},
	{"--reason", "TEXT", CTL_BLOCK, take_reason, "for people, and for the audit"},
	{"--update", NULL, CTL_IMPORT, take_update, "change accounts that exist; else they stay"},
	{"--dsn", "DSN", ANY_COMMAND, take_dsn,
		"the database, as libpq takes it (default: POSTERN_DSN)"},
	{"--json", NULL, ANY_COMMAND, take_json, "machine-readable output, errors too"},
	{"--help", NULL, ANY_COMMAND, take_help, "this text"},
};

static const size_t option_count = sizeof(options) / sizeof(options[0]);

const struct ctl_option *options_row(size_t at)
{
	return at < option_count ? &options[at] : NULL;
}

static int usage_error(const struct ctl *ctl, const char *problem, const char *what)
{
	char message[512], hint[128];

	(void)snprintf(
		message, sizeof(message), "%s%s%s", problem, what[0] == '\0' ? "" : ": ", what);
	if (ctl->command == NULL)
		(void)snprintf(hint, sizeof(hint), "posternctl --help lists the commands.");
	else
		(void)snprintf(hint, sizeof(hint), "posternctl %s%s%s --help tells what it takes.",
			ctl->command->noun, ctl->command->verb[0] == '\0' ? "" : " ",
			ctl->command->verb);
	output_error(ctl->json, EX_USAGE, message, hint);
	return EX_USAGE;
}

static const struct ctl_option *find_option(const char *word, size_t len)
{
	for (size_t i = 0; i < option_count; i++) {
		if (strlen(options[i].name) == len && memcmp(options[i].name, word, len) == 0)
			return &options[i];
	}
	return NULL;
}

/*
 * An option of every command is taken at once, so that --json holds for errors too; the others when
 * the command is known, for a name may have several rows: by the command, or forms of its value.
 */
struct given {
	const struct ctl_option *row; /* the first of its name */
	const char *value;
};

struct givens {
	struct given list[CTL_ARGUMENTS_MAX];
	size_t count;
};

/* Returns EX_OK or the exit status. */
static int take_given(struct ctl *ctl, const struct given *given)
{
	bool of_command = false;

	for (const struct ctl_option *row = given->row; row < options + option_count; row++) {
		if (strcmp(row->name, given->row->name) != 0 ||
			(row->bit & ctl->command->options) == 0)
			continue;
		if (row->take(ctl, given->value))
			return EX_OK;
		of_command = true;
	}
	return usage_error(ctl,
		of_command ? "not a value for this option" : "not an option of this command",
		given->row->name);
}

/* Takes argv[*at], which begins with a hyphen, and its value; returns EX_OK or the exit status. */
static int take_option(struct ctl *ctl, int argc, char **argv, int *at, struct givens *givens)
{
	const char *word = argv[*at];
	const char *value = strchr(word, '=');
	size_t len = value == NULL ? strlen(word) : (size_t)(value - word);
	const struct ctl_option *row = find_option(strcmp(word, "-h") == 0 ? "--help" : word,
		strcmp(word, "-h") == 0 ? strlen("--help") : len);

	if (row == NULL)
		return usage_error(ctl, "there is no option", word);
	if (row->value == NULL && value != NULL)
		return usage_error(ctl, "takes no value", row->name);
	if (value != NULL) {
		value++;
	} else if (row->value != NULL) {
		if (*at + 1 >= argc)
			return usage_error(ctl, "wants a value", row->name);
		value = argv[++*at];
	}
	if (row->bit == ANY_COMMAND)
		return row->take(ctl, value)
			       ? EX_OK
			       : usage_error(ctl, "not a value for this option", row->name);
	if (givens->count == CTL_ARGUMENTS_MAX)
		return usage_error(ctl, "too many options", "");
	givens->list[givens->count++] = (struct given){row, value};
	return EX_OK;
}

/* Splits argv into options and words; "--" ends the options. */
static int split(struct ctl *ctl, int argc, char **argv, struct givens *givens)
{
	bool words_only = false;

	for (int at = 1; at < argc; at++) {
		if (!words_only && strcmp(argv[at], "--") == 0) {
			words_only = true;
		} else if (!words_only && argv[at][0] == '-' && argv[at][1] != '\0') {
			int status = take_option(ctl, argc, argv, &at, givens);

			if (status != EX_OK)
				return status;
		} else {
			if (ctl->argument_count == CTL_ARGUMENTS_MAX)
				return usage_error(ctl, "too many arguments", "");
			ctl->arguments[ctl->argument_count++] = argv[at];
		}
	}
	return EX_OK;
}

static bool names(const struct ctl *ctl, const struct ctl_command *command)
{
	if (ctl->argument_count == 0 || strcmp(command->noun, ctl->arguments[0]) != 0)
		return false;
	return command->verb[0] == '\0' ||
	       (ctl->argument_count >= 2 && strcmp(command->verb, ctl->arguments[1]) == 0);
}

/* Takes the command's words off the arguments. */
static bool find_command(struct ctl *ctl)
{
	for (size_t i = 0; i < ctl->command_count; i++) {
		size_t words = ctl->commands[i].verb[0] == '\0' ? 1 : 2;

		if (!names(ctl, &ctl->commands[i]))
			continue;
		ctl->command = &ctl->commands[i];
		ctl->argument_count -= words;
		memmove(ctl->arguments, ctl->arguments + words,
			ctl->argument_count * sizeof(ctl->arguments[0]));
		return true;
	}
	return false;
}

static int check_command(struct ctl *ctl, const struct givens *givens)
{
	for (size_t i = 0; i < givens->count; i++) {
		int status = take_given(ctl, &givens->list[i]);

		if (status != EX_OK)
			return status;
	}
	if (ctl->argument_count < ctl->command->min)
		return usage_error(ctl, "too few arguments, wanted", ctl->command->arguments);
	if (ctl->argument_count > ctl->command->max)
		return usage_error(ctl, "too many arguments, wanted", ctl->command->arguments);
	if (!password_cost_valid(&ctl->cost))
		return usage_error(ctl,
			"--memory is from 8KiB to 1GiB, --passes from 1 to 10, and their product "
			"at most 1GiB",
			"");
	if ((ctl->command->options & CTL_LOCAL) != 0)
		return -1;
	if (ctl->dsn == NULL || ctl->dsn[0] == '\0') {
		output_error(ctl->json, EX_USAGE, "which database?",
			"Give --dsn, or set POSTERN_DSN (service=postern, "
			"postgresql://postern_admin@host/postern, ...).");
		return EX_USAGE;
	}
	return -1;
}

int options_parse(
	struct ctl *ctl, const struct ctl_command *commands, size_t count, int argc, char **argv)
{
	struct givens givens = {.count = 0};
	int status;

	ctl->commands = commands;
	ctl->command_count = count;
	ctl->dsn = getenv("POSTERN_DSN");
	ctl->plan = "default";
	ctl->after = "";
	ctl->cost.memory_bytes = UINT64_C(64) << 20;
	ctl->cost.passes = 2;
	status = split(ctl, argc, argv, &givens);
	if (status != EX_OK)
		return status;
	if (!find_command(ctl)) {
		if (ctl->help) {
			usage_print_commands(
				ctl, ctl->argument_count == 1 ? ctl->arguments[0] : NULL);
			return EX_OK;
		}
		if (ctl->argument_count == 0)
			return usage_error(ctl, "which command?", "");
		return usage_error(ctl, "there is no such command", ctl->arguments[0]);
	}
	if (ctl->help) {
		usage_print_command(ctl->command);
		return EX_OK;
	}
	return check_command(ctl, &givens);
}
