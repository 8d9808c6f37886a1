/* SPDX-License-Identifier: ISC */
/*
 * posternctl credential ...: makes generated secrets, shows each once, and takes them away.
 *
 * The secret and the pepper never leave this process but for standard output: the database gets the
 * public id and a keyed hash.
 */
#include "auth/credential.h"

#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/limits.h"
#include "ctl/login.h"
#include "ctl/output.h"
#include "ctl/settings.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* ------------------------------------------------------------------------ add */

/* What goes to the database of a new secret. */
struct fresh {
	char secret[CREDENTIAL_TEXT_LEN + 1];
	char public_id[CREDENTIAL_ID_LEN + 1];
	char key_id[CREDENTIAL_KEY_ID_LEN + 1];
	char hash[2 + 2 * CREDENTIAL_HASH_BYTES + 1]; /* "\x..." */
};

static int make(const struct ctl *ctl, struct fresh *fresh)
{
	const char *file = ctl->pepper != NULL ? ctl->pepper : getenv("POSTERN_PEPPER");
	uint8_t pepper[PEPPER_BYTES], hash[CREDENTIAL_HASH_BYTES];
	char why[PEPPER_WHY_MAX], message[PEPPER_WHY_MAX + 300];

	if (file == NULL || file[0] == '\0') {
		output_error(ctl->json, EX_USAGE, "which pepper?",
			"Give --pepper FILE, or set POSTERN_PEPPER: one of the files that "
			"credential.pepper in postern.conf names.");
		return EX_USAGE;
	}
	if (pepper_read(file, pepper, why) != NULL) {
		(void)snprintf(message, sizeof(message), "the pepper '%.250s' %s", file, why);
		output_error(ctl->json, EX_NOINPUT, message, "");
		return EX_NOINPUT;
	}
	credential_generate(fresh->secret);
	(void)credential_format(
		credential_number((const uint8_t *)fresh->secret), fresh->public_id);
	credential_key_id(pepper, fresh->key_id);
	credential_hash(pepper, (const uint8_t *)fresh->secret, hash);
	memcpy(fresh->hash, "\\x", 2);
	sodium_bin2hex(fresh->hash + 2, sizeof(fresh->hash) - 2, hash, sizeof(hash));
	sodium_memzero(pepper, sizeof(pepper));
	sodium_memzero(hash, sizeof(hash));
	return EX_OK;
}

/* "30d", "12h" or "2027-01-01" (midnight UTC) into an interval or a time.  false: neither. */
static bool parse_expiry(const char *text, char interval[32], char moment[40])
{
	size_t digits = strspn(text, "0123456789");

	interval[0] = moment[0] = '\0';
	if (digits >= 1 && digits <= 5 && strcmp(text + digits, "d") == 0)
		(void)snprintf(interval, 32, "%.*s days", (int)digits, text);
	else if (digits >= 1 && digits <= 5 && strcmp(text + digits, "h") == 0)
		(void)snprintf(interval, 32, "%.*s hours", (int)digits, text);
	else if (strlen(text) == 10 && digits == 4 && text[4] == '-' && text[7] == '-' &&
		 strspn(text + 5, "0123456789") == 2 && strspn(text + 8, "0123456789") == 2)
		(void)snprintf(moment, 40, "%s 00:00:00+00", text);
	return interval[0] != '\0' || moment[0] != '\0';
}

/* As PostgreSQL writes an array of text.  NULL: out of memory. */
static char *array_text(const struct ctl_words *words)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return NULL;
	(void)fputc('{', out);
	for (size_t i = 0; i < words->count; i++) {
		(void)fputs(i == 0 ? "\"" : ",\"", out);
		for (const char *at = words->word[i]; *at != '\0'; at++) {
			if (*at == '"' || *at == '\\')
				(void)fputc('\\', out);
			(void)fputc(*at, out);
		}
		(void)fputc('"', out);
	}
	(void)fputc('}', out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* The only time that the secret is seen. */
static void show_secret(const struct ctl *ctl, const char *login, const struct fresh *fresh)
{
	if (!ctl->json) {
		(void)printf("%s\n", fresh->secret);
		return;
	}
	(void)fputs("{\"login\":", stdout);
	output_json_string(stdout, login);
	(void)printf(",\"result\":\"added\",\"credential\":\"%s\",\"secret\":\"%s\"}\n",
		fresh->public_id, fresh->secret);
}

/* --limit KEY=VALUE, and the four options that were there before it. */
static char *own_limits(struct ctl *ctl, int *status)
{
	static const char *const keys[CTL_OWN_LIMITS] = {
		"messages_hour", "messages_day", "recipients_hour", "recipients_day"};
	const char *words[CTL_WORDS_MAX + CTL_OWN_LIMITS];
	char older[CTL_OWN_LIMITS][40]; /* a number of 15 digits at most */
	size_t count = ctl->limits.count;

	memcpy(words, ctl->limits.word, count * sizeof(words[0]));
	for (size_t i = 0; i < CTL_OWN_LIMITS; i++) {
		if (ctl->own_limits[i] == NULL)
			continue;
		(void)snprintf(older[i], sizeof(older[i]), "%s=%s", keys[i], ctl->own_limits[i]);
		words[count++] = older[i];
	}
	return settings_json(ctl, words, count, 0, status);
}

static PGresult *add(struct ctl *ctl, const char *login, const struct fresh *fresh, int *status)
{
	char interval[32] = "", moment[40] = "";
	char *networks = NULL, *senders = NULL, *limits = NULL;
	PGresult *added = NULL;

	if (ctl->expires != NULL && !parse_expiry(ctl->expires, interval, moment)) {
		output_error(ctl->json, EX_USAGE, "not a time for --expires",
			"Days (30d), hours (12h), or a date (2027-01-01: its beginning in UTC).");
		*status = EX_USAGE;
		return NULL;
	}
	limits = own_limits(ctl, status);
	if (limits == NULL)
		return NULL;
	networks = array_text(&ctl->networks);
	senders = array_text(&ctl->senders);
	if (networks == NULL || senders == NULL) {
		output_error(ctl->json, EX_OSERR, "out of memory", "");
		*status = EX_OSERR;
		goto out;
	}
	const char *values[] = {login, fresh->public_id, fresh->key_id, fresh->hash,
		ctl->label == NULL ? "" : ctl->label, networks, senders,
		interval[0] == '\0' ? NULL : interval, moment[0] == '\0' ? NULL : moment, limits};
	added = database_ask(ctl,
		"SELECT postern.credential_add($1, $2, $3, $4::pg_catalog.bytea, $5, "
		"$6::pg_catalog.text[], $7::pg_catalog.text[], coalesce("
		"pg_catalog.clock_timestamp() + $8::pg_catalog.interval, "
		"$9::pg_catalog.timestamptz), limits => $10::pg_catalog.jsonb)",
		10, values, status);
out:
	free(limits);
	free(networks);
	free(senders);
	return added;
}

int ctl_credential_add(struct ctl *ctl)
{
	struct fresh fresh;
	char login[LOGIN_TEXT_MAX];
	int status = login_argument(ctl, login);

	if (status == EX_OK)
		status = make(ctl, &fresh);
	if (status != EX_OK)
		return status;
	PGresult *added = add(ctl, login, &fresh, &status);
	if (added != NULL)
		show_secret(ctl, login, &fresh);
	PQclear(added);
	sodium_memzero(&fresh, sizeof(fresh));
	return status;
}

/* ----------------------------------------------------------------- list, show */

#define UTC(column)                  \
	"pg_catalog.to_char(" column \
	" AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS " column

enum { PAGE_ROWS = 1000 };

int ctl_credential_list(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX], after[CREDENTIAL_ID_LEN + 1] = "";
	const char *values[] = {login, after};
	int status = login_argument(ctl, login), got = PAGE_ROWS;
	bool first = true;

	if (status != EX_OK)
		return status;
	if (ctl->json)
		(void)fputs("[", stdout);
	while (status == EX_OK && got == PAGE_ROWS) {
		PGresult *rows = database_ask(ctl,
			"SELECT public_id AS credential, state, label, " UTC("created_at") ", " UTC(
				"expires_at") ", " UTC("used_at") ", key_id "
								  "FROM "
								  "postern.credential_list($1, $2)",
			2, values, &status);
		if (rows == NULL)
			break;
		got = PQntuples(rows);
		output_page(ctl->json, rows, first);
		if (got > 0)
			(void)snprintf(after, sizeof(after), "%s", PQgetvalue(rows, got - 1, 0));
		first = false;
		PQclear(rows);
	}
	if (ctl->json)
		(void)fputs("]\n", stdout);
	return status;
}

/* "pst_abcdefghijkl" is what people have before their eyes, a whole secret what they should not. */
static const char *public_id(const struct ctl *ctl)
{
	static const char prefix[] = "pst_";
	const char *argument = ctl->arguments[0];

	return strncmp(argument, prefix, sizeof(prefix) - 1) == 0 ? argument + sizeof(prefix) - 1
								  : argument;
}

static void print_value(const PGresult *rows, int column)
{
	(void)printf("%-17s", PQfname(rows, column));
	output_field(stdout, rows, 0, column);
	(void)fputc('\n', stdout);
}

static void show(const struct ctl *ctl, const PGresult *rows, const PGresult *limits)
{
	if (ctl->json) {
		(void)fputc('{', stdout);
		for (int column = 0; column < PQnfields(rows); column++) {
			output_json_string(stdout, PQfname(rows, column));
			(void)fputc(':', stdout);
			output_json_field(stdout, rows, 0, column);
			(void)fputc(',', stdout);
		}
		(void)fputs("\"limits\":", stdout);
		limits_print(ctl, limits);
		(void)fputs("}\n", stdout);
		return;
	}
	for (int column = 0; column < PQnfields(rows); column++)
		print_value(rows, column);
	if (PQntuples(limits) == 0)
		return;
	(void)fputc('\n', stdout);
	limits_print(ctl, limits);
}

#define SHOW_COLUMNS                                                                              \
	"credential, login, state, label, " UTC("created_at") ", " UTC("expires_at") ", " UTC(    \
		"revoked_at") ", " UTC("used_at") ", pg_catalog.host(used_address) AS "           \
						  "used_address, used_client, key_id, "           \
						  "pg_catalog.array_to_string(networks, ' ') AS " \
						  "networks, "                                    \
						  "pg_catalog.array_to_string(senders, ' ') AS "  \
						  "senders"

int ctl_credential_show(struct ctl *ctl)
{
	const char *values[] = {public_id(ctl)};
	char scope[sizeof("credential ") + CREDENTIAL_ID_LEN];
	PGresult *rows, *limits = NULL;
	int status = EX_OK;

	rows = database_ask(ctl, "SELECT " SHOW_COLUMNS " FROM postern.credential_show($1)", 1,
		values, &status);
	if (rows != NULL) {
		(void)snprintf(scope, sizeof(scope), "credential %s", PQgetvalue(rows, 0, 0));
		limits = limits_ask(ctl, PQgetvalue(rows, 0, 1), scope, &status);
	}
	if (limits != NULL)
		show(ctl, rows, limits);
	PQclear(limits);
	PQclear(rows);
	return status;
}

/* --------------------------------------------------------------------- revoke */
int ctl_credential_revoke(struct ctl *ctl)
{
	const char *values[] = {public_id(ctl)};
	int status = EX_OK;
	PGresult *rows =
		database_ask(ctl, "SELECT postern.credential_revoke($1)", 1, values, &status);

	if (rows == NULL)
		return status;
	bool changed = PQgetvalue(rows, 0, 0)[0] == 't';
	PQclear(rows);
	rows = database_ask(
		ctl, "SELECT login FROM postern.credential_show($1)", 1, values, &status);
	if (rows != NULL)
		output_done(ctl->json, PQgetvalue(rows, 0, 0), changed ? "revoked" : "unchanged",
			"credential", values[0]);
	PQclear(rows);
	return status;
}

int ctl_credential_keys(struct ctl *ctl)
{
	int status = EX_OK;
	PGresult *rows = database_ask(
		ctl, "SELECT key_id, live, ended FROM postern.credential_keys()", 0, NULL, &status);

	if (rows == NULL)
		return status;
	output_rows(ctl->json, rows);
	PQclear(rows);
	return EX_OK;
}
