/* SPDX-License-Identifier: ISC */
/* posternctl sender ... and limits ...: what an account may write as sender, and how much. */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/options.h"
#include "ctl/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* Runs a function of (login, sender) that tells whether it changed anything. */
static int change_sender(
	struct ctl *ctl, const char *sql, char login[LOGIN_TEXT_MAX], bool *changed_out)
{
	int status = login_argument(ctl, login);
	const char *values[] = {login, ctl->arguments[1]};

	if (status != EX_OK)
		return status;
	PGresult *result = database_ask(ctl, sql, 2, values, &status);

	if (result == NULL)
		return status;
	*changed_out = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return EX_OK;
}

int ctl_sender_add(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	bool changed = false;
	int status = change_sender(ctl, "SELECT postern.sender_add($1, $2)", login, &changed);

	if (status == EX_OK)
		output_done(ctl->json, login, changed ? "added" : "unchanged", "sender",
			ctl->arguments[1]);
	return status;
}

/* A sender that was not there is an error: whoever takes one away wants to be sure it is gone. */
int ctl_sender_del(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	bool changed = false;
	int status = change_sender(ctl, "SELECT postern.sender_del($1, $2)", login, &changed);

	if (status != EX_OK)
		return status;
	if (!changed) {
		output_error(ctl->json, EX_DATAERR, "the account has no such sender",
			"posternctl account show lists what it has.");
		return EX_DATAERR;
	}
	output_done(ctl->json, login, "removed", "sender", ctl->arguments[1]);
	return EX_OK;
}

/* ---------------------------------------------------------------------- limits */

static const char *const limit_names[] = {"messages_hour", "messages_day", "recipients_hour",
	"recipients_day", "recipients_message", "message_bytes"};
enum { LIMIT_COUNT = sizeof(limit_names) / sizeof(limit_names[0]) };

static int limit_error(const struct ctl *ctl, const char *argument, const char *problem)
{
	char message[256];

	(void)snprintf(message, sizeof(message), "%s: %s", argument, problem);
	output_error(ctl->json, EX_USAGE, message,
		"KEY=VALUE: messages_hour, messages_day, recipients_hour, recipients_day, "
		"recipients_message or message_bytes; a whole number, unlimited, or plan.");
	return EX_USAGE;
}

/* Adds "key":value to the JSON text. */
static int add_limit(
	const struct ctl *ctl, const char *argument, unsigned *seen, char *json, size_t room)
{
	const char *value = strchr(argument, '=');
	size_t key_len = value == NULL ? 0 : (size_t)(value - argument), used = strlen(json);
	size_t key = 0;
	char number[24];
	uint64_t parsed;

	while (key < LIMIT_COUNT && (strlen(limit_names[key]) != key_len ||
					    memcmp(limit_names[key], argument, key_len) != 0))
		key++;
	if (value == NULL || key == LIMIT_COUNT)
		return limit_error(ctl, argument, "there is no such limit");
	if ((*seen & 1u << key) != 0)
		return limit_error(ctl, argument, "this limit was given before");
	*seen |= 1u << key;
	value++;
	if (strcmp(value, "unlimited") == 0)
		(void)snprintf(number, sizeof(number), "\"unlimited\"");
	else if (strcmp(value, "plan") == 0)
		(void)snprintf(number, sizeof(number), "null");
	else if (value[0] == '-')
		return limit_error(ctl, argument, "a limit is not negative");
	else if (options_parse_size(value, &parsed))
		(void)snprintf(number, sizeof(number), "%" PRIu64, parsed);
	else
		return limit_error(ctl, argument, "not a value for a limit");
	(void)snprintf(json + used, room - used, "%s\"%s\":%s", used == 1 ? "" : ",",
		limit_names[key], number);
	return EX_OK;
}

int ctl_limits_set(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX], json[512] = "{"; /* six limits of 45 octets at most */
	unsigned seen = 0;
	int status = login_argument(ctl, login);

	for (size_t i = 1; status == EX_OK && i < ctl->argument_count; i++)
		status = add_limit(ctl, ctl->arguments[i], &seen, json, sizeof(json) - 1);
	if (status != EX_OK)
		return status;
	(void)snprintf(json + strlen(json), 2, "}");
	const char *values[] = {login, json};
	PGresult *set = database_ask(
		ctl, "SELECT postern.limits_set($1, $2::pg_catalog.jsonb)", 2, values, &status);

	if (set == NULL)
		return status;
	output_done(ctl->json, login, "limits changed", NULL, NULL);
	PQclear(set);
	return EX_OK;
}
