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

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* What was found out, as it is printed; NULL: does not apply. */
struct findings {
	const char *login, *account_id, *scheme, *cost;
	char credential[CREDENTIAL_ID_LEN + 1];  /* "": it is no generated one */
	const char *enabled, *password, *rehash; /* "yes", "no", and what a password may be */
	const char *blocked, *blocked_until;     /* "account", or the network */
	const char *refused;                     /* why; NULL: it would be let in */
	bool unknown;                            /* refused says why it cannot be told */
	int status;
};

/* The first reason stays: they are found in the order in which the service would meet them. */
static void refuse(struct findings *found, const char *why)
{
	if (found->refused == NULL)
		found->refused = why;
}

static void cannot_tell(struct findings *found, int status, const char *why)
{
	found->password = "unknown";
	if (found->refused != NULL)
		return;
	found->refused = why;
	found->unknown = true;
	found->status = status;
}

/* ------------------------------------------------------------------- passwords */

static void test_password(const struct ctl *ctl, const PGresult *row, const uint8_t *secret,
	size_t len, struct findings *found)
{
	const char *stored = PQgetvalue(row, 0, 2);
	struct password_hash hash;

	if (PQgetisnull(row, 0, 2)) {
		found->password = "none";
		refuse(found, "the account has no password");
		return;
	}
	found->scheme = PQgetvalue(row, 0, 3);
	found->cost = PQgetvalue(row, 0, 4);
	if (password_parse(stored, strlen(stored), &hash) != PASSWORD_PARSED) {
		found->password = "unknown";
		refuse(found, "the stored hash cannot be verified");
		return;
	}
	switch (password_verify(&hash, secret, len)) {
	case PASSWORD_MATCH:
		found->password = "matches";
		found->rehash = password_needs_rehash(&hash, &ctl->cost) ? "yes" : "no";
		break;
	case PASSWORD_MISMATCH:
		found->password = "wrong";
		refuse(found, "the password is wrong");
		break;
	case PASSWORD_FAILED:
		cannot_tell(found, EX_OSERR, "there was no memory to verify the password");
		break;
	}
	sodium_memzero(&hash, sizeof(hash));
}

/* ------------------------------------------------------------------ credentials */

static void compare(const uint8_t pepper[PEPPER_BYTES], const PGresult *row, const uint8_t *secret,
	struct findings *found)
{
	char key_id[CREDENTIAL_KEY_ID_LEN + 1], hex[2 * CREDENTIAL_HASH_BYTES + 1];
	uint8_t hash[CREDENTIAL_HASH_BYTES];

	credential_key_id(pepper, key_id);
	if (strcmp(key_id, PQgetvalue(row, 0, 3)) != 0) {
		cannot_tell(found, EX_NOINPUT, "it is hashed under another pepper");
		return;
	}
	credential_hash(pepper, secret, hash);
	sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	if (strcmp(hex, PQgetvalue(row, 0, 4)) == 0) { /* of hashes: their time tells nothing */
		found->password = "matches";
	} else {
		found->password = "wrong";
		refuse(found, "the secret is wrong");
	}
	sodium_memzero(hash, sizeof(hash));
	sodium_memzero(hex, sizeof(hex));
}

static void test_secret(
	const struct ctl *ctl, const PGresult *row, const uint8_t *secret, struct findings *found)
{
	const char *file = ctl->pepper != NULL ? ctl->pepper : getenv("POSTERN_PEPPER");
	uint8_t pepper[PEPPER_BYTES];
	char why[PEPPER_WHY_MAX];

	if (PQntuples(row) == 0) {
		found->password = "wrong";
		refuse(found, "there is no such credential");
		return;
	}
	if (strcmp(PQgetvalue(row, 0, 0), found->account_id) != 0)
		refuse(found, "the credential is another account's");
	else if (strcmp(PQgetvalue(row, 0, 1), "revoked") == 0)
		refuse(found, "the credential is revoked");
	else if (strcmp(PQgetvalue(row, 0, 1), "expired") == 0)
		refuse(found, "the credential is expired");
	else if (PQgetvalue(row, 0, 2)[0] == 'f')
		refuse(found, "the credential may not be used from this address");
	if (file == NULL || file[0] == '\0') {
		cannot_tell(found, EX_NOINPUT,
			"without the pepper (--pepper, POSTERN_PEPPER) the secret cannot be "
			"verified");
	} else if (pepper_read(file, pepper, why) != NULL) {
		cannot_tell(found, EX_NOINPUT, "the pepper cannot be read");
	} else {
		compare(pepper, row, secret, found);
	}
	sodium_memzero(pepper, sizeof(pepper));
}

static int test_credential(struct ctl *ctl, const uint8_t *secret, struct findings *found)
{
	const char *values[] = {found->credential, ctl->from};
	int status = EX_OK;

	(void)credential_format(credential_number(secret), found->credential);
	PGresult *row = database_ask(ctl,
		"SELECT account_id, state, here, key_id, pg_catalog.encode(hash, 'hex') "
		"FROM postern.credential_auth($1, $2::pg_catalog.inet)",
		2, values, &status);

	if (row != NULL)
		test_secret(ctl, row, secret, found);
	PQclear(row);
	return status;
}

/* --------------------------------------------------------------------- account */

#define AUTH_TIME(column)                                    \
	"pg_catalog.to_char(" column " AT TIME ZONE 'UTC', " \
	"'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

/* One row of account_auth(), or none. */
static int test_account(struct ctl *ctl, const PGresult *row, const uint8_t *secret, size_t len,
	struct findings *found)
{
	if (PQntuples(row) == 0) {
		if (found->refused == NULL)
			found->status = EX_NOUSER;
		refuse(found, "there is no such account");
		return EX_OK;
	}
	found->account_id = PQgetvalue(row, 0, 0);
	found->enabled = PQgetvalue(row, 0, 1)[0] == 't' ? "yes" : "no";
	if (found->enabled[0] == 'n')
		refuse(found, "the account is disabled");
	if (!PQgetisnull(row, 0, 5)) {
		if (found->blocked == NULL) {
			found->blocked = "account";
			found->blocked_until = PQgetvalue(row, 0, 5);
		}
		refuse(found, "the account is blocked");
	}
	if (credential_recognise(secret, len))
		return test_credential(ctl, secret, found);
	test_password(ctl, row, secret, len, found);
	return EX_OK;
}

/* The block that keeps --from out, for PQclear(); NULL without --from. */
static PGresult *test_network(struct ctl *ctl, struct findings *found, int *status)
{
	const char *values[] = {ctl->from};
	PGresult *row;

	if (ctl->from == NULL)
		return NULL;
	row = database_ask(ctl,
		"SELECT network, " AUTH_TIME("until") " FROM postern.block_of($1::pg_catalog.inet)",
		1, values, status);
	if (row != NULL && PQntuples(row) == 1) {
		found->blocked = PQgetvalue(row, 0, 0);
		found->blocked_until = PQgetvalue(row, 0, 1);
		refuse(found, "the network is blocked");
	}
	return row;
}

/* ---------------------------------------------------------------------- output */

static void print_field(bool json, const char *name, const char *value, bool bare)
{
	if (!json) {
		(void)printf("%-14s", name);
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

static const char *result(const struct findings *found)
{
	if (found->refused == NULL)
		return "accepted";
	return found->unknown ? "unknown" : "refused";
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
	print_field(json, "blocked", found->blocked, false);
	print_field(json, "blocked_until", found->blocked_until, false);
	print_field(
		json, "credential", found->credential[0] == '\0' ? NULL : found->credential, false);
	print_field(json, "scheme", found->scheme, false);
	print_field(json, "cost", found->cost, false);
	print_field(json, "password", found->password, false);
	print_field(json, "rehash", yes_no(json, found->rehash), true);
	print_field(json, "result", result(found), false);
	print_field(json, "reason", found->refused, false);
	(void)fputs(json ? "}\n" : "", stdout);
}

int ctl_auth_test(struct ctl *ctl)
{
	struct findings found = {.status = EX_NOPERM};
	char login[LOGIN_TEXT_MAX];
	const char *values[] = {login};
	PGresult *network = NULL, *row = NULL;
	uint8_t *secret = NULL;
	size_t len = 0;
	int status = login_argument(ctl, login);

	if (status == EX_OK)
		status = prompt_password(ctl, false, &secret, &len);
	if (status == EX_OK)
		network = test_network(ctl, &found, &status);
	if (status == EX_OK)
		row = database_ask(ctl,
			"SELECT account_id, enabled, password_hash, scheme, cost, " AUTH_TIME(
				"blocked_until") " FROM postern.account_auth($1)",
			1, values, &status);
	if (row != NULL) {
		found.login = login;
		status = test_account(ctl, row, secret, len, &found);
	}
	if (row != NULL && status == EX_OK) {
		status = found.refused == NULL ? EX_OK : found.status;
		print(ctl, &found);
	}
	prompt_wipe(&secret);
	PQclear(network);
	PQclear(row);
	return status;
}
