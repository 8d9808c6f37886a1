/* SPDX-License-Identifier: ISC */
/*
 * posternctl top: who sends most at present.  From the books, which are some seconds behind.
 *
 * Live on a terminal: a few escape sequences of ECMA-48 and no library.  A question that takes long
 * is asked less often, so that nobody's watching costs the database more than a tenth of its time.
 */
#include "ctl/bars.h"
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/output.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum { TOP_ROWS = 20, TOP_ROWS_MAX = 10000, TOP_HEAD = 4, INTERVAL_S = 2, COST_SHARE = 10 };

#define TOP_CLEAR "\033[H\033[2J"
#define TOP_ENTER "\033[?25l\033[?7l" /* no cursor, long lines are cut */
#define TOP_LEAVE "\033[?25h\033[?7h"

#define TOP_PLAIN                                                                        \
	"SELECT coalesce(name, 'all') AS %s, minute_messages AS \"messages/min\", "      \
	"minute_recipients AS \"recipients/min\", minute_refusals AS \"refusals/min\", " \
	"(hour_messages / 60.0)::numeric(20,1)::text AS \"messages/min 1h\", "           \
	"(hour_recipients / 60.0)::numeric(20,1)::text AS \"recipients/min 1h\", "       \
	"(hour_refusals / 60.0)::numeric(20,1)::text AS \"refusals/min 1h\" "            \
	"FROM postern.usage_top($1, $2::int)"
#define TOP_JSON                                                                         \
	"SELECT name AS %s, account AS account_id, minute_messages AS messages_minute, " \
	"minute_recipients AS recipients_minute, minute_refusals AS refusals_minute, "   \
	"hour_messages AS messages_hour, hour_recipients AS recipients_hour, "           \
	"hour_refusals AS refusals_hour FROM postern.usage_top($1, $2::int)"

enum { JSON_KEYS = 2 };

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

/* The second one is not heard: it ends a question that the database does not answer. */
static void hear_signals(sigset_t *heard)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};

	(void)sigemptyset(&action.sa_mask);
	(void)sigemptyset(heard);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		(void)sigaddset(heard, numbers[i]);
		(void)sigaction(numbers[i], &action, NULL);
	}
}

/* As many as the screen has room for, or as were asked for. */
static unsigned long rows_wanted(const struct ctl *ctl, bool live)
{
	struct winsize size;

	if (ctl->limit != 0)
		return ctl->limit;
	if (live && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > TOP_HEAD + 1)
		return size.ws_row - TOP_HEAD;
	return TOP_ROWS;
}

static PGresult *ask(struct ctl *ctl, bool live, int *status_out)
{
	const char *by = ctl->by == NULL ? "account" : ctl->by;
	char sql[1024], page[24];
	const char *values[] = {by, page};

	(void)snprintf(page, sizeof(page), "%lu", rows_wanted(ctl, live));
	(void)snprintf(sql, sizeof(sql), ctl->json ? TOP_JSON : TOP_PLAIN,
		strcmp(by, "account") == 0 ? "login" : by);
	return database_ask(ctl, sql, 2, values, status_out);
}

/* {"rows": [...], "total": {...}}: the first row is the sum. */
static void print_json(const PGresult *rows)
{
	(void)fputs("{\"rows\":[", stdout);
	for (int row = 1; row < PQntuples(rows); row++) {
		(void)fputs(row == 1 ? "" : ",\n ", stdout);
		output_json_row(stdout, rows, row);
	}
	(void)fputs("],\n\"total\":", stdout);
	for (int column = JSON_KEYS; column < PQnfields(rows); column++) {
		(void)fputc(column == JSON_KEYS ? '{' : ',', stdout);
		output_json_string(stdout, PQfname(rows, column));
		(void)fputc(':', stdout);
		output_json_field(stdout, rows, 0, column);
	}
	(void)fputs("}}\n", stdout);
}

static int print_once(struct ctl *ctl)
{
	int status = EX_OK;
	PGresult *rows = ask(ctl, false, &status);

	if (rows == NULL)
		return status;
	if (ctl->json)
		print_json(rows);
	else
		output_table(stdout, rows, true);
	PQclear(rows);
	return EX_OK;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A signal that comes before it begins to wait ends the wait, too. */
static void pause_ms(uint64_t ms, const sigset_t *heard)
{
	const struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
	sigset_t before;

	(void)sigprocmask(SIG_BLOCK, heard, &before);
	if (ended == 0)
		(void)ppoll(NULL, 0, &left, &before);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
}

static int draw(struct ctl *ctl, uint64_t every_ms)
{
	int status = EX_OK;
	PGresult *rows = ask(ctl, true, &status);

	if (rows == NULL)
		return status;
	(void)printf(TOP_CLEAR "By %s, every %" PRIu64
			       " s: the last minute, and a minute's mean of the "
			       "last hour.  ^C ends it.\n\n",
		ctl->by == NULL ? "account" : ctl->by, every_ms / 1000);
	output_table(stdout, rows, true);
	PQclear(rows);
	return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static int run_live(struct ctl *ctl)
{
	uint64_t every_ms = (ctl->interval_s == 0 ? INTERVAL_S : ctl->interval_s) * 1000;
	sigset_t heard;
	int status = EX_OK;

	hear_signals(&heard);
	(void)setvbuf(stdout, NULL, _IOFBF, BUFSIZ); /* a picture at a time */
	(void)fputs(TOP_ENTER, stdout);
	while (status == EX_OK && ended == 0) {
		uint64_t began_ms = now_ms();

		status = draw(ctl, every_ms);
		uint64_t cost_ms = (now_ms() - began_ms) * COST_SHARE;
		if (status == EX_OK && ended == 0)
			pause_ms(every_ms > cost_ms ? every_ms : cost_ms, &heard);
	}
	(void)fputs(TOP_LEAVE "\n", stdout);
	return status;
}

int ctl_top(struct ctl *ctl)
{
	struct bars_style style;

	if (ctl->limit > TOP_ROWS_MAX) {
		output_error(ctl->json, EX_USAGE, "at most 10000 rows", "Give a smaller --limit.");
		return EX_USAGE;
	}
	if (ctl->once || ctl->json || !bars_style(&style))
		return print_once(ctl);
	return run_live(ctl);
}
