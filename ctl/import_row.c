/* SPDX-License-Identifier: ISC */
/* Records into rows, rows into JSON; see import_row.h. */
#include "ctl/import_row.h"

#include "auth/credential.h"
#include "ctl/output.h"

#include <string.h>
#include <strings.h>

static const char *const columns[IMPORT_COLUMN_COUNT] = {
	[IMPORT_LOGIN] = "login",
	[IMPORT_PASSWORD] = "password",
	[IMPORT_HASH] = "hash",
	[IMPORT_PLAN] = "plan",
	[IMPORT_SENDERS] = "senders",
	[IMPORT_ENABLED] = "enabled",
};

static size_t find_column(const char *name)
{
	size_t column = 0;

	while (column < IMPORT_COLUMN_COUNT && strcasecmp(columns[column], name) != 0)
		column++;
	return column;
}

bool import_header_read(
	struct import_header *header, const struct csv *csv, char problem_out[IMPORT_PROBLEM_MAX])
{
	memset(header, 0, sizeof(*header));
	header->fields = csv->field_count;
	for (size_t i = 0; i < csv->field_count; i++) {
		size_t len;
		const char *name = csv_field(csv, i, &len);
		size_t column = find_column(name);

		if (column == IMPORT_COLUMN_COUNT) {
			(void)snprintf(problem_out, IMPORT_PROBLEM_MAX,
				"there is no column \"%.40s\"", name);
			return false;
		}
		if (header->at[column] != 0) {
			(void)snprintf(problem_out, IMPORT_PROBLEM_MAX,
				"the column \"%s\" is there twice", columns[column]);
			return false;
		}
		header->at[column] = i + 1;
	}
	if (header->at[IMPORT_LOGIN] == 0) {
		(void)snprintf(problem_out, IMPORT_PROBLEM_MAX, "there is no column \"login\"");
		return false;
	}
	return true;
}

/* The field of a column, "" where there is no such column. */
static const char *field(const struct import_header *header, const struct csv *csv,
	enum import_column column, size_t *len_out)
{
	*len_out = 0;
	if (header->at[column] == 0)
		return "";
	return csv_field(csv, header->at[column] - 1, len_out);
}

/* A copy of a field at text + *used; NULL where it is empty. */
static const char *copy(const struct import_header *header, const struct csv *csv,
	enum import_column column, char *text, size_t *used)
{
	size_t len;
	const char *bytes = field(header, csv, column, &len);
	char *at = text + *used;

	if (len == 0)
		return NULL;
	memcpy(at, bytes, len + 1);
	*used += len + 1;
	return at;
}

static const char *read_login(const struct import_header *header, const struct csv *csv,
	struct import_row *row, char *text, size_t *used)
{
	size_t len;
	const char *bytes = field(header, csv, IMPORT_LOGIN, &len);
	char *at = text + *used;

	if (!password_prepare_login((const uint8_t *)bytes, len, (uint8_t *)at, &len))
		return len == 0 ? "the login is empty" : "not a login";
	at[len] = '\0';
	*used += len + 1;
	row->login = at;
	return NULL;
}

static const char *read_secret(const struct import_header *header, const struct csv *csv,
	struct import_row *row, char *text, size_t *used)
{
	size_t len;
	const char *bytes = field(header, csv, IMPORT_PASSWORD, &len);
	char *at = text + *used;

	if (len == 0)
		return NULL;
	if (row->hash != NULL)
		return "a password and a hash: one of them";
	if (!password_prepare_secret((const uint8_t *)bytes, len, (uint8_t *)at, &len))
		return "not a password";
	if (credential_recognise((const uint8_t *)at, len))
		return "the password has the form of a generated credential";
	*used += len;
	row->secret = at;
	row->secret_len = len;
	return NULL;
}

static const char *check_hash(const char *hash)
{
	struct password_hash parsed;

	if (hash == NULL)
		return NULL;
	switch (password_parse(hash, strlen(hash), &parsed)) {
	case PASSWORD_PARSED:
		return NULL;
	case PASSWORD_UNKNOWN_SCHEME:
		return "a hash of a scheme that is not known";
	case PASSWORD_MALFORMED:
		return "a malformed hash";
	case PASSWORD_TOO_COSTLY:
		return "a hash that costs too much to verify";
	}
	return "a malformed hash";
}

static const char *read_enabled(
	const struct import_header *header, const struct csv *csv, enum import_enabled *enabled_out)
{
	static const struct {
		const char *word;
		enum import_enabled means;
	} words[] = {{"", IMPORT_AS_IT_IS}, {"yes", IMPORT_ENABLE}, {"true", IMPORT_ENABLE},
		{"1", IMPORT_ENABLE}, {"no", IMPORT_DISABLE}, {"false", IMPORT_DISABLE},
		{"0", IMPORT_DISABLE}};
	size_t len;
	const char *text = field(header, csv, IMPORT_ENABLED, &len);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(words[i].word, text) == 0) {
			*enabled_out = words[i].means;
			return NULL;
		}
	}
	return "enabled is yes or no";
}

const char *import_row_read(const struct import_header *header, const struct csv *csv,
	struct import_row *row, char *text, size_t *used_out)
{
	const char *problem;

	memset(row, 0, sizeof(*row));
	row->line = csv->line;
	*used_out = 0;
	if (csv->field_count != header->fields)
		return csv->field_count < header->fields ? "fewer fields than the first line"
							 : "more fields than the first line";
	row->hash = copy(header, csv, IMPORT_HASH, text, used_out);
	row->plan = copy(header, csv, IMPORT_PLAN, text, used_out);
	row->senders = copy(header, csv, IMPORT_SENDERS, text, used_out);
	problem = read_login(header, csv, row, text, used_out);
	if (problem == NULL)
		problem = read_secret(header, csv, row, text, used_out);
	if (problem == NULL)
		problem = check_hash(row->hash);
	if (problem == NULL)
		problem = read_enabled(header, csv, &row->enabled);
	return problem;
}

/* The senders, separated by spaces or semicolons, as an array. */
static void senders_json(FILE *to, const char *senders)
{
	static const char separators[] = " ;\t\r\n";
	const char *between = "";

	(void)fputs(",\"senders\":[", to);
	if (strcmp(senders, "-") != 0) {
		for (const char *at = senders + strspn(senders, separators); *at != '\0';) {
			size_t len = strcspn(at, separators);
			char one[PASSWORD_LOGIN_MAX + 2];

			/* One that is too long stays too long. */
			(void)snprintf(one, sizeof(one), "%.*s", (int)len, at);
			(void)fputs(between, to);
			output_json_string(to, one);
			between = ",";
			at += len + strspn(at + len, separators);
		}
	}
	(void)fputc(']', to);
}

void import_row_json(FILE *to, const struct import_row *row, const char *plan)
{
	const char *hash = row->made[0] != '\0' ? row->made : row->hash;

	(void)fputs("{\"login\":", to);
	output_json_string(to, row->login);
	if (hash != NULL) {
		(void)fputs(",\"hash\":", to);
		output_json_string(to, hash);
	}
	if (row->plan != NULL || plan != NULL) {
		(void)fputs(",\"plan\":", to);
		output_json_string(to, row->plan != NULL ? row->plan : plan);
	}
	if (row->senders != NULL)
		senders_json(to, row->senders);
	if (row->enabled != IMPORT_AS_IT_IS)
		(void)fprintf(
			to, ",\"enabled\":%s", row->enabled == IMPORT_ENABLE ? "true" : "false");
	(void)fputc('}', to);
}
