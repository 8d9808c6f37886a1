/* SPDX-License-Identifier: ISC */
/*
 * posternctl auth-test: what a log-in would come to, and why.  It computes the hash here, from what
 * the database has; no process of Postern's is asked, nothing is counted and nothing changes.
 */
#include "auth/credential.h"
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"
#include "ctl/prompt.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* What was found out, as it is printed; NULL: does not apply. */
struct findings {
	const char *login, *account_id, *scheme, *cost;
	const char *enabled, *password, *rehash; /* "yes", "no", and what a password may be */
	const char *refused;                     /* why; NULL: it would be let in */
	int status;
};

/* How the hash and the password fit. */
static void test_hash(const struct ctl *ctl, const char *stored, const uint8_t *secret, size_t len,
	struct findings *found)
{
	struct password_hash hash;

	if (password_parse(stored, strlen(stored), &hash) != PASSWORD_PARSED) {
		found->password = "unknown";
		found->refused = "the stored hash cannot be verified";
		return;
	}
	switch (password_verify(&hash, secret, len)) {
	case PASSWORD_MATCH:
		found->password = "matches";
		found->rehash = password_needs_rehash(&hash, &ctl->cost) ? "yes" : "no";
		break;
	case PASSWORD_MISMATCH:
		found->password = "wrong";
		found->refused = "the password is wrong";
		break;
	case PASSWORD_FAILED:
		found->password = "unknown";
		found->refused = "there was no memory to verify the password";
		found->status = EX_OSERR;
		break;
	}
}

/* One row of account_auth(), or none. */
static void test_account(const struct ctl *ctl, const PGresult *row, const uint8_t *secret,
	size_t len, struct findings *found)
{
	if (PQntuples(row) == 0) {
		found->refused = "there is no such account";
		found->status = EX_NOUSER;
		return;
	}
	found->account_id = PQgetvalue(row, 0, 0);
	found->enabled = PQgetvalue(row, 0, 1)[0] == 't' ? "yes" : "no";
	if (!PQgetisnull(row, 0, 2)) {
		found->scheme = PQgetvalue(row, 0, 3);
		found->cost = PQgetvalue(row, 0, 4);
	}
	if (credential_recognise(secret, len)) {
		found->password = "generated";
		found->refused = "it is a generated credential: posternctl credential show tells "
				 "about one";
	} else if (found->scheme == NULL) {
		found->password = "none";
		found->refused = "the account has no password";
	} else {
		test_hash(ctl, PQgetvalue(row, 0, 2), secret, len, found);
	}
	if (strcmp(found->enabled, "no") == 0 && found->status == EX_NOPERM)
		found->refused = "the account is disabled";
}

static void print_field(bool json, const char *name, const char *value, bool bare)
{
	if (!json) {
		(void)printf("%-12s", name);
		output_plain(stdout, value == NULL ? "-" : value);
		(void)fputc('\n', stdout);
		return;
	}
	(void)printf(",\"%s\":", name);
	if (value == NULL || bare)
		(void)fputs(value == NULL ? "null" : value, stdout);
	else
		output_json_string(stdout, value);
}

static const char *yes_no(bool json, const char *word)
{
	if (word == NULL || !json)
		return word;
	return strcmp(word, "yes") == 0 ? "true" : "false";
}

static void print(const struct ctl *ctl, const struct findings *found)
{
	bool json = ctl->json;

	if (json) {
		(void)fputs("{\"login\":", stdout);
		output_json_string(stdout, found->login);
	} else {
		print_field(false, "login", found->login, false);
	}
	print_field(json, "account_id", found->account_id, true);
	print_field(json, "enabled", yes_no(json, found->enabled), true);
	print_field(json, "scheme", found->scheme, false);
	print_field(json, "cost", found->cost, false);
	print_field(json, "password", found->password, false);
	print_field(json, "rehash", yes_no(json, found->rehash), true);
	print_field(json, "result", found->refused == NULL ? "accepted" : "refused", false);
	print_field(json, "reason", found->refused, false);
	(void)fputs(json ? "}\n" : "", stdout);
}

int ctl_auth_test(struct ctl *ctl)
{
	struct findings found = {.status = EX_NOPERM};
	char login[LOGIN_TEXT_MAX];
	const char *values[] = {login};
	uint8_t *secret = NULL;
	size_t len = 0;
	int status = login_argument(ctl, login);

	if (status == EX_OK)
		status = prompt_password(ctl, false, &secret, &len);
	if (status != EX_OK)
		return status;
	PGresult *row = database_ask(ctl,
		"SELECT account_id, enabled, password_hash, scheme, cost "
		"FROM postern.account_auth($1)",
		1, values, &status);

	if (row != NULL) {
		found.login = login;
		test_account(ctl, row, secret, len, &found);
		status = found.refused == NULL ? EX_OK : found.status;
		print(ctl, &found);
	}
	prompt_wipe(&secret);
	PQclear(row);
	return status;
}
