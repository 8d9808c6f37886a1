/* SPDX-License-Identifier: ISC */
/* The connection and its errors; see database.h. */
#include "ctl/database.h"

#include "ctl/output.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static void on_notice(void *context, const char *message)
{
	(void)context;
	output_plain(stderr, message);
	(void)fputc('\n', stderr);
}

/* libpq ends its messages with a line feed. */
static void without_line_end(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
}

/* The audit's postern.actor: who runs this program, as the machine knows him. */
static void os_user(char *name, size_t room)
{
	struct passwd entry, *found = NULL;
	char texts[4096];
	uid_t uid = getuid();

	if (getpwuid_r(uid, &entry, texts, sizeof(texts), &found) == 0 && found != NULL)
		(void)snprintf(name, room, "%s", entry.pw_name);
	else
		(void)snprintf(name, room, "uid %lu", (unsigned long)uid);
}

static int prepare_session(struct ctl *ctl)
{
	char actor[256];
	const char *values[] = {actor};
	int status = EX_OK;

	os_user(actor, sizeof(actor));
	PGresult *set = database_ask(ctl,
		"SELECT pg_catalog.set_config('client_min_messages', 'warning', false), "
		"pg_catalog.set_config('postern.actor', $1, false)",
		1, values, &status);
	if (set == NULL)
		return status;
	PQclear(set);
	if (!ctl->dry_run || (ctl->command->options & CTL_IMPORT) != 0)
		return EX_OK;
	/* It is never committed: the same statements find the same errors, and leave nothing. */
	output_dry_run();
	set = database_ask(ctl, "BEGIN", 0, NULL, &status);
	PQclear(set);
	return status;
}

int database_open(struct ctl *ctl)
{
	/* What stands before dbname gives way to the DSN; what stands after it does not. */
	const char *const names[] = {
		"connect_timeout", "fallback_application_name", "dbname", "client_encoding", NULL};
	const char *const values[] = {"10", "posternctl", ctl->dsn, "UTF8", NULL};
	ctl->connection = PQconnectdbParams(names, values, 1);
	if (PQstatus(ctl->connection) != CONNECTION_OK) {
		char message[1024];

		(void)snprintf(message, sizeof(message), "%s",
			ctl->connection == NULL ? "out of memory"
						: PQerrorMessage(ctl->connection));
		without_line_end(message);
		output_error(ctl->json, EX_UNAVAILABLE, message,
			"Is the server up, and is the DSN (--dsn, POSTERN_DSN) right?");
		return EX_UNAVAILABLE;
	}
	PQsetNoticeProcessor(ctl->connection, on_notice, NULL);
	return prepare_session(ctl);
}

void database_close(struct ctl *ctl)
{
	PQfinish(ctl->connection);
	ctl->connection = NULL;
}

PGresult *database_ask(
	struct ctl *ctl, const char *sql, int count, const char *const *values, int *status_out)
{
	PGresult *result = PQexecParams(ctl->connection, sql, count, NULL, values, NULL, NULL, 0);
	ExecStatusType got = PQresultStatus(result);

	if (got == PGRES_TUPLES_OK || got == PGRES_COMMAND_OK)
		return result;
	*status_out = database_fail(ctl, result, "");
	PQclear(result);
	return NULL;
}

/* A row's state may be a class of two characters. */
static const struct {
	const char *state;
	int status;
	const char *hint; /* when the server gives none */
} failures[] = {
	{"23505", EX_CANTCREAT, ""},
	{"P0002", EX_NOUSER, ""},
	{"42704", EX_DATAERR, ""},
	{"42501", EX_NOPERM,
		"Use the role postern_admin; db migrate wants a superuser, or the database's owner "
		"with CREATEROLE."},
	{"3F000", EX_CONFIG,
		"There is no schema postern here yet: posternctl db migrate makes it."},
	{"42883", EX_CONFIG,
		"The schema is older than this posternctl: run posternctl db migrate."},
	{"42P01", EX_CONFIG,
		"The schema is older than this posternctl: run posternctl db migrate."},
	{"25006", EX_UNAVAILABLE,
		"This server is a standby: add target_session_attrs=read-write to the DSN."},
	{"22", EX_DATAERR, ""},
	{"23", EX_DATAERR, ""},
	{"08", EX_UNAVAILABLE, "The connection was lost: look whether it was done, and try again."},
	{"57", EX_UNAVAILABLE, "Look whether it was done, and try again."},
	{"53", EX_TEMPFAIL, "Try again later."},
	{"55000", EX_DATAERR, ""},
	{"55", EX_TEMPFAIL, "Somebody else holds a lock: try again."},
	{"40", EX_TEMPFAIL, "Try again."},
};

int database_fail(const struct ctl *ctl, const PGresult *result, const char *where)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	const char *usual = "";
	int status = EX_SOFTWARE;
	char message[1024];

	if (state == NULL) /* not the server's: the connection went away */
		state = "08006";
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		if (strncmp(state, failures[i].state, strlen(failures[i].state)) == 0) {
			status = failures[i].status;
			usual = failures[i].hint;
			break;
		}
	}
	(void)snprintf(message, sizeof(message), "%s%s%s", where, where[0] == '\0' ? "" : ": ",
		text == NULL ? PQerrorMessage(ctl->connection) : text);
	without_line_end(message);
	output_error(ctl->json, status, message, hint == NULL ? usual : hint);
	return status;
}
