/* SPDX-License-Identifier: ISC */
/* KEY=VALUE words; see settings.h. */
#include "ctl/settings.h"

#include "ctl/database.h"
#include "ctl/options.h"
#include "ctl/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { HINT_MAX = 1024, KIND_NAME = 0, KIND_UNIT = 1 };

static const char grace_prefix[] = "grace.";

struct settings {
	struct ctl *ctl;
	PGresult *kinds; /* name, unit */
	unsigned takes;
	FILE *to, *grace; /* members of the object, and of its object grace */
	size_t members, graces;
};

static int complain(
	const struct settings *settings, const char *word, const char *problem, const char *hint)
{
	char message[256];

	(void)snprintf(message, sizeof(message), "%s: %s", word, problem);
	output_error(settings->ctl->json, EX_USAGE, message, hint);
	return EX_USAGE;
}

/* ---------------------------------------------------------------------- words */

/* Writes a value as JSON.  Returns NULL, or what is wrong with it. */
static const char *put_name(FILE *to, const char *value)
{
	if (strcmp(value, "none") == 0)
		(void)fputs("null", to);
	else
		output_json_string(to, value);
	return value[0] == '\0' ? "a name is wanted, or none" : NULL;
}

static const char *put_yes_no(FILE *to, const char *value)
{
	if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
		return "yes or no is wanted";
	(void)fputs(value[0] == 'y' ? "true" : "false", to);
	return NULL;
}

static const char *put_on_exceed(FILE *to, const char *value)
{
	if (strcmp(value, "defer") != 0 && strcmp(value, "reject") != 0)
		return "defer or reject is wanted";
	output_json_string(to, value);
	return NULL;
}

static const char *put_number(FILE *to, const char *value)
{
	uint64_t number;

	if (value[0] == '-')
		return "it is not negative";
	if (strspn(value, "0123456789") != strlen(value) || !options_parse_size(value, &number))
		return "a whole number is wanted";
	(void)fprintf(to, "%" PRIu64, number);
	return NULL;
}

static const char *put_number_or_none(FILE *to, const char *value)
{
	if (strcmp(value, "none") != 0)
		return put_number(to, value);
	(void)fputs("null", to);
	return NULL;
}

static const struct setting_word {
	const char *key;
	unsigned bit;
	const char *(*put)(FILE *to, const char *value);
} setting_words[] = {
	{"plan", SETTINGS_PLAN, put_name},
	{"parent", SETTINGS_TENANT, put_name},
	{"enabled", SETTINGS_TENANT, put_yes_no},
	{"on_exceed", SETTINGS_RULES, put_on_exceed},
	{"warn_percent", SETTINGS_RULES, put_number_or_none},
};
enum { WORD_COUNT = sizeof(setting_words) / sizeof(setting_words[0]) };

/* --------------------------------------------------------------------- limits */

/* Octets also with a unit. */
static const char *put_amount(
	const struct settings *settings, FILE *to, int kind, const char *value)
{
	bool octets = strcmp(PQgetvalue(settings->kinds, kind, KIND_UNIT), "bytes") == 0;
	uint64_t number;

	if (!octets)
		return put_number(to, value);
	if (value[0] == '-' || !options_parse_size(value, &number))
		return "a whole number is wanted, or one with KiB, MiB or GiB";
	(void)fprintf(to, "%" PRIu64, number);
	return NULL;
}

static const char *put_limit(const struct settings *settings, int kind, const char *value)
{
	if (value[0] == '-')
		return "a limit is not negative";
	if (strcmp(value, "unlimited") == 0)
		(void)fputs("\"unlimited\"", settings->to);
	else if (strcmp(value, "plan") == 0 && (settings->takes & SETTINGS_INHERIT) != 0)
		(void)fputs("null", settings->to);
	else
		return put_amount(settings, settings->to, kind, value);
	return NULL;
}

static const char *put_grace(const struct settings *settings, int kind, const char *value)
{
	if (strcmp(value, "none") != 0)
		return put_amount(settings, settings->grace, kind, value);
	(void)fputs("null", settings->grace);
	return NULL;
}

static bool is_key(const char *key, size_t len, const char *name)
{
	return strlen(name) == len && memcmp(key, name, len) == 0;
}

static int find_kind(const struct settings *settings, const char *key, size_t len)
{
	for (int row = 0; row < PQntuples(settings->kinds); row++) {
		if (is_key(key, len, PQgetvalue(settings->kinds, row, KIND_NAME)))
			return row;
	}
	return -1;
}

static void append(char hint[HINT_MAX], const char *text)
{
	size_t used = strlen(hint);

	(void)snprintf(hint + used, HINT_MAX - used, "%s", text);
}

/* All keys, and what a limit may be. */
static void write_hint(const struct settings *settings, char hint[HINT_MAX])
{
	(void)snprintf(hint, HINT_MAX, "KEY=VALUE: ");
	for (size_t i = 0; i < WORD_COUNT; i++) {
		if ((setting_words[i].bit & settings->takes) == 0)
			continue;
		append(hint, setting_words[i].key);
		append(hint, ", ");
	}
	for (int row = 0; row < PQntuples(settings->kinds); row++) {
		append(hint, row == 0 ? "" : ", ");
		append(hint, PQgetvalue(settings->kinds, row, KIND_NAME));
	}
	append(hint, (settings->takes & SETTINGS_RULES) != 0 ? ", grace.KEY; " : "; ");
	append(hint, (settings->takes & SETTINGS_INHERIT) != 0
			     ? "a limit is a whole number, unlimited, or plan."
			     : "a limit is a whole number, or unlimited.");
}

/* -------------------------------------------------------------------- reading */

static void begin_member(FILE *to, size_t *members, const char *key, size_t len)
{
	(void)fprintf(to, "%s\"%.*s\":", (*members)++ == 0 ? "" : ",", (int)len, key);
}

/* Whatever the key is of.  *known_out is false when there is no such key. */
static const char *put_member(
	struct settings *settings, const char *key, size_t len, const char *value, bool *known_out)
{
	size_t prefix = sizeof(grace_prefix) - 1;
	int kind = find_kind(settings, key, len);

	*known_out = true;
	for (size_t i = 0; i < WORD_COUNT; i++) {
		const struct setting_word *word = &setting_words[i];

		if ((word->bit & settings->takes) == 0 || !is_key(key, len, word->key))
			continue;
		begin_member(settings->to, &settings->members, key, len);
		return word->put(settings->to, value);
	}
	if (kind != -1) {
		begin_member(settings->to, &settings->members, key, len);
		return put_limit(settings, kind, value);
	}
	if ((settings->takes & SETTINGS_RULES) != 0 && len > prefix &&
		memcmp(key, grace_prefix, prefix) == 0)
		kind = find_kind(settings, key + prefix, len - prefix);
	if (kind != -1) {
		begin_member(settings->grace, &settings->graces, key + prefix, len - prefix);
		return put_grace(settings, kind, value);
	}
	*known_out = false;
	return "there is no such limit";
}

static bool given_before(const char *const *words, size_t at, size_t len)
{
	for (size_t i = 0; i < at; i++) {
		if (strncmp(words[i], words[at], len + 1) == 0) /* the = too */
			return true;
	}
	return false;
}

static int read_word(struct settings *settings, const char *const *words, size_t at)
{
	const char *value = strchr(words[at], '='), *problem;
	char hint[HINT_MAX];
	bool known = false;

	write_hint(settings, hint);
	if (value == NULL)
		return complain(settings, words[at], "there is no value", hint);
	if (given_before(words, at, (size_t)(value - words[at])))
		return complain(settings, words[at], "this was given before", "");
	problem = put_member(settings, words[at], (size_t)(value - words[at]), value + 1, &known);
	if (problem == NULL)
		return EX_OK;
	return complain(settings, words[at], problem, hint);
}

/* The object out of both parts; NULL: out of memory. */
static char *whole(const char *members, const char *graces)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	if (to == NULL)
		return NULL;
	(void)fprintf(to, "{%s", members);
	if (graces[0] != '\0')
		(void)fprintf(to, "%s\"grace\":{%s}", members[0] == '\0' ? "" : ",", graces);
	(void)fputc('}', to);
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

char *settings_json(
	struct ctl *ctl, const char *const *words, size_t count, unsigned takes, int *status_out)
{
	struct settings settings = {.ctl = ctl, .takes = takes};
	char *members = NULL, *graces = NULL, *json = NULL;
	size_t len;

	*status_out = EX_OK;
	settings.kinds = database_ask(
		ctl, "SELECT name, unit FROM postern.limit_kinds()", 0, NULL, status_out);
	if (settings.kinds == NULL)
		return NULL;
	settings.to = open_memstream(&members, &len);
	settings.grace = open_memstream(&graces, &len);
	if (settings.to != NULL && settings.grace != NULL) {
		for (size_t i = 0; *status_out == EX_OK && i < count; i++)
			*status_out = read_word(&settings, words, i);
	}
	bool closed = settings.to != NULL && fclose(settings.to) == 0;
	closed = settings.grace != NULL && fclose(settings.grace) == 0 && closed;
	if (*status_out == EX_OK) {
		json = closed ? whole(members, graces) : NULL;
		if (json == NULL) {
			output_error(ctl->json, EX_OSERR, "out of memory", "");
			*status_out = EX_OSERR;
		}
	}
	free(members);
	free(graces);
	PQclear(settings.kinds);
	return json;
}
