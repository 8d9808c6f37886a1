/* SPDX-License-Identifier: ISC */
/*
 * Async libpq in libevent; see database.h.
 *
 * Four states: pausing, connecting (PQconnectPoll), preparing (the contract and every statement in
 * one pipeline), ready.  The socket may change at every step of connecting, so its event is made
 * anew each time.  Each query is followed by its own sync: one that fails fails alone.
 */
#include "auth/database.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum state { STATE_PAUSING, STATE_CONNECTING, STATE_PREPARING, STATE_READY };

enum {
	LISTEN_MAX = 64,
	LOG_EVERY_MS = 1000,
	NULLS_MAX = 4,
};

struct call {
	TAILQ_ENTRY(call) link;
	enum query query;
	database_done *done;
	void *arg;
	uint64_t token;
	uint64_t deadline_ms;
	PGresult *rows; /* until the sync */
	bool failed;
	size_t offsets[QUERY_PARAMETERS_MAX];
	size_t room; /* of text */
	char text[];
};

TAILQ_HEAD(calls, call);

struct database {
	struct event_base *base;
	struct database_settings settings;
	enum state state;
	bool hopeful; /* nothing says that the attempt will fail: queries may wait for it */
	bool told_down;
	unsigned failures;    /* attempts in a row, of all targets */
	size_t target, tried; /* of the current attempt, and how many since the last pause */
	PGconn *conn;
	int answers_wanted; /* while preparing */
	struct event *readable, *writable;
	struct event *timer; /* a pause or the deadline of connecting */
	struct event *sweep; /* deadlines of queries, and the ping */
	struct calls waiting, sent;
	size_t queued;
	uint64_t logged_ms, active_ms;
};

static void start_attempt(struct database *db);
static void fail_connection(struct database *db, const char *reason, const char *text);
static void on_poll(evutil_socket_t fd, short what, void *arg);
static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* ------------------------------------------------------------------ queries */
static void finish(struct database *db, struct call *call, enum database_result result)
{
	db->queued--;
	if (result != DATABASE_ROWS)
		counter_add(COUNTER_DATABASE_ERRORS, 1);
	call->done(result, result == DATABASE_ROWS ? call->rows : NULL, call->arg, call->token);
	PQclear(call->rows);
	sodium_memzero(call->text, call->room); /* a stored hash may be the password itself */
	free(call);
}

/* Answers all of a list; callbacks may queue anew on the emptied one. */
static void finish_all(struct database *db, struct calls *list, enum database_result result)
{
	struct calls gone = TAILQ_HEAD_INITIALIZER(gone);

	TAILQ_CONCAT(&gone, list, link);
	while (!TAILQ_EMPTY(&gone)) {
		struct call *call = TAILQ_FIRST(&gone);
		TAILQ_REMOVE(&gone, call, link);
		finish(db, call, result);
	}
}

static void arm_sweep(struct database *db)
{
	uint64_t now = clock_monotonic_ms();
	uint64_t due = now + DATABASE_PING_MS;

	/* All deadlines are equally long, so the first of each list is the next to pass. */
	if (!TAILQ_EMPTY(&db->sent) && TAILQ_FIRST(&db->sent)->deadline_ms < due)
		due = TAILQ_FIRST(&db->sent)->deadline_ms;
	if (!TAILQ_EMPTY(&db->waiting) && TAILQ_FIRST(&db->waiting)->deadline_ms < due)
		due = TAILQ_FIRST(&db->waiting)->deadline_ms;
	uint64_t wait = due > now ? due - now : 1;
	const struct timeval tv = {(time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000)};
	event_add(db->sweep, &tv);
}

static bool flush(struct database *db)
{
	int left = PQflush(db->conn);

	if (left == 1)
		event_add(db->writable, NULL);
	return left != -1;
}

static bool send_call(struct database *db, struct call *call)
{
	const struct query_info *info = &query_info[call->query];
	const char *values[QUERY_PARAMETERS_MAX];

	for (int i = 0; i < info->parameters; i++)
		values[i] = call->text + call->offsets[i];
	return PQsendQueryPrepared(db->conn, info->name, info->parameters, values, NULL, NULL, 1) ==
		       1 &&
	       PQpipelineSync(db->conn) == 1;
}

/* What waited for the connection goes out.  A send that fails leaves the connection to its end. */
static void send_waiting(struct database *db)
{
	while (db->state == STATE_READY && !TAILQ_EMPTY(&db->waiting)) {
		struct call *call = TAILQ_FIRST(&db->waiting);
		TAILQ_REMOVE(&db->waiting, call, link);
		TAILQ_INSERT_TAIL(&db->sent, call, link);
		if (!send_call(db, call)) {
			fail_connection(db, "send", PQerrorMessage(db->conn));
			return;
		}
	}
	if (db->state == STATE_READY && !flush(db))
		fail_connection(db, "send", PQerrorMessage(db->conn));
}

static struct call *call_new(enum query query, const char *const *values)
{
	size_t room = 0, used = 0;

	for (int i = 0; i < query_info[query].parameters; i++)
		room += strlen(values[i]) + 1;
	struct call *call = calloc(1, sizeof *call + room);
	if (call == NULL)
		return NULL;
	call->room = room;
	call->query = query;
	for (int i = 0; i < query_info[query].parameters; i++) {
		size_t size = strlen(values[i]) + 1;
		memcpy(call->text + used, values[i], size);
		call->offsets[i] = used;
		used += size;
	}
	return call;
}

bool database_query(struct database *db, enum query query, const char *const *values,
	database_done *done, void *arg, uint64_t token)
{
	if (db->queued >= db->settings.queue_max || (db->state != STATE_READY && !db->hopeful))
		return false;
	struct call *call = call_new(query, values);
	if (call == NULL)
		return false;
	call->done = done;
	call->arg = arg;
	call->token = token;
	db->active_ms = clock_monotonic_ms();
	call->deadline_ms = db->active_ms + DATABASE_QUERY_MS;
	bool first = TAILQ_EMPTY(&db->waiting) && TAILQ_EMPTY(&db->sent);
	TAILQ_INSERT_TAIL(&db->waiting, call, link);
	db->queued++;
	/* Sent from the loop: done never fires before return, and one flush serves a turn. */
	if (db->state == STATE_READY)
		event_active(db->writable, EV_WRITE, 1);
	if (first)
		arm_sweep(db);
	return true;
}

bool database_ready(const struct database *db)
{
	return db->state == STATE_READY;
}

/* ------------------------------------------------------------------ results */
static void log_failure(struct database *db, const struct call *call, const PGresult *result)
{
	struct log_line line;
	uint64_t now = clock_monotonic_ms();
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (now - db->logged_ms < LOG_EVERY_MS)
		return;
	db->logged_ms = now;
	log_begin(&line, LOG_ERROR, "query-failed");
	log_text(&line, "connection", db->settings.name);
	log_text(&line, "query", query_info[call->query].name);
	log_text(&line, "sqlstate", state == NULL ? "" : state);
	log_text(&line, "msg", text == NULL ? "" : text);
	log_end(&line);
}

/* The sync of the oldest query came: its transaction has ended. */
static void complete(struct database *db)
{
	struct call *call = TAILQ_FIRST(&db->sent);

	TAILQ_REMOVE(&db->sent, call, link);
	finish(db, call, call->failed || call->rows == NULL ? DATABASE_FAILED : DATABASE_ROWS);
}

/* false: the connection was dropped. */
static bool take_result(struct database *db, PGresult *result)
{
	struct call *call = TAILQ_FIRST(&db->sent);
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_TUPLES_OK && call->rows == NULL) {
		call->rows = result;
		return true;
	}
	if (status == PGRES_FATAL_ERROR || status == PGRES_PIPELINE_ABORTED) {
		log_failure(db, call, result);
		call->failed = true;
		PQclear(result);
		return true;
	}
	PQclear(result);
	if (status != PGRES_PIPELINE_SYNC) {
		fail_connection(db, "protocol", PQresStatus(status));
		return false;
	}
	complete(db);
	return true;
}

static void read_results(struct database *db)
{
	/* A NULL ends each query's results; several in a row mean that libpq has no more. */
	for (int nulls = 0; nulls < NULLS_MAX && db->state == STATE_READY;) {
		if (TAILQ_EMPTY(&db->sent) || PQisBusy(db->conn) == 1)
			break;
		PGresult *result = PQgetResult(db->conn);
		nulls = result == NULL ? nulls + 1 : 0;
		if (result != NULL && !take_result(db, result))
			return;
	}
	if (db->state == STATE_READY)
		arm_sweep(db);
}

/* ---------------------------------------------------------------- preparing */
/* NULL: all is well so far; else why not. */
static const char *check_prepared(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	int32_t version;

	if (status == PGRES_COMMAND_OK)
		return NULL;
	if (status != PGRES_TUPLES_OK)
		return PQresultErrorMessage(result);
	if (!query_parse_contract(result, &version) || version != QUERY_CONTRACT_VERSION)
		return "postern.contract() is of another version: run posternctl db migrate, or "
		       "start the Postern that fits the schema";
	return NULL;
}

static void on_ready(struct database *db)
{
	db->state = STATE_READY;
	db->hopeful = true;
	db->failures = 0;
	db->tried = 0;
	db->told_down = false;
	db->active_ms = clock_monotonic_ms();
	evtimer_del(db->timer);
	counter_add(COUNTER_DATABASE_CONNECTS, 1);
	struct log_line line;
	log_begin(&line, LOG_INFO, "database-up");
	log_text(&line, "connection", db->settings.name);
	log_text(&line, "server", db->settings.dsn->targets[db->target].label);
	log_end(&line);
	db->settings.on_state(true, db->settings.arg);
	arm_sweep(db);
	send_waiting(db);
}

static void read_prepared(struct database *db)
{
	for (int nulls = 0; nulls < NULLS_MAX && PQisBusy(db->conn) == 0;) {
		PGresult *result = PQgetResult(db->conn);
		nulls = result == NULL ? nulls + 1 : 0;
		if (result == NULL)
			continue;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC && db->answers_wanted == 0) {
			PQclear(result);
			on_ready(db);
			return;
		}
		const char *wrong = check_prepared(result);
		if (wrong != NULL) {
			fail_connection(db, "schema", wrong);
			PQclear(result);
			return;
		}
		db->answers_wanted--;
		PQclear(result);
	}
}

static bool send_listen(struct database *db)
{
	char sql[LISTEN_MAX];

	if (db->settings.listen == NULL)
		return true;
	snprintf(sql, sizeof sql, "LISTEN %s", db->settings.listen);
	db->answers_wanted++;
	return PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 1) == 1;
}

static bool send_prepare(struct database *db)
{
	if (PQsetnonblocking(db->conn, 1) == -1 || PQenterPipelineMode(db->conn) != 1)
		return false;
	if (PQsendQueryParams(
		    db->conn, query_info[QUERY_CONTRACT].sql, 0, NULL, NULL, NULL, NULL, 1) != 1)
		return false;
	for (int i = 0; i < QUERY_COUNT; i++) {
		if (PQsendPrepare(db->conn, query_info[i].name, query_info[i].sql, 0, NULL) != 1)
			return false;
	}
	db->answers_wanted = QUERY_COUNT + 1;
	return send_listen(db) && PQpipelineSync(db->conn) == 1;
}

static void start_preparing(struct database *db)
{
	int fd = PQsocket(db->conn);

	db->state = STATE_PREPARING;
	event_free(db->readable);
	db->readable = event_new(db->base, fd, EV_READ | EV_PERSIST, on_readable, db);
	db->writable = event_new(db->base, fd, EV_WRITE, on_writable, db);
	if (db->readable == NULL || db->writable == NULL || event_add(db->readable, NULL) == -1) {
		fail_connection(db, "memory", "");
		return;
	}
	if (!send_prepare(db) || !flush(db))
		fail_connection(db, "prepare", PQerrorMessage(db->conn));
}

/* What came is told once, however often; what it says is not looked at. */
static void hear(struct database *db)
{
	bool heard = false;

	if (db->state != STATE_READY || db->settings.listen == NULL)
		return;
	for (PGnotify *note = PQnotifies(db->conn); note != NULL; note = PQnotifies(db->conn)) {
		heard = true;
		PQfreemem(note);
	}
	if (heard)
		db->settings.on_notify(db->settings.arg);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct database *db = arg;

	(void)fd;
	(void)what;
	if (PQconsumeInput(db->conn) != 1) {
		fail_connection(db, "closed", PQerrorMessage(db->conn));
		return;
	}
	if (db->state == STATE_PREPARING)
		read_prepared(db);
	else
		read_results(db);
	hear(db);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct database *db = arg;

	(void)fd;
	(void)what;
	if (db->state == STATE_READY)
		send_waiting(db);
	else if (!flush(db))
		fail_connection(db, "send", PQerrorMessage(db->conn));
}

/* --------------------------------------------------------------- connecting */
static void set_timer(struct database *db, unsigned ms)
{
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	event_add(db->timer, &tv);
}

unsigned database_pause_ms(unsigned failures, uint32_t random)
{
	unsigned bound = DATABASE_PAUSE_MAX_MS;

	if (failures < 7 && DATABASE_PAUSE_MIN_MS << failures < DATABASE_PAUSE_MAX_MS)
		bound = DATABASE_PAUSE_MIN_MS << failures;
	return 1 + random % bound;
}

static void log_down(struct database *db, const char *reason, const char *text)
{
	struct log_line line;
	size_t len = strcspn(text, "\n");

	/* Once an outage; its repeats are at debug. */
	log_begin(&line, db->told_down ? LOG_DEBUG : LOG_ERROR, "database-down");
	log_text(&line, "connection", db->settings.name);
	log_text(&line, "server", db->settings.dsn->targets[db->target].label);
	log_text(&line, "reason", reason);
	log_bytes(&line, "msg", text, len);
	log_end(&line);
}

static void drop_events(struct database *db)
{
	if (db->readable != NULL)
		event_free(db->readable);
	if (db->writable != NULL)
		event_free(db->writable);
	db->readable = db->writable = NULL;
}

/* Ends the connection, answers what was sent, and goes on to the next target or a pause. */
static void fail_connection(struct database *db, const char *reason, const char *text)
{
	bool was_ready = db->state == STATE_READY;

	log_down(db, reason, text);
	drop_events(db);
	PQfinish(db->conn);
	db->conn = NULL;
	db->state = STATE_PAUSING;
	db->target = (db->target + 1) % db->settings.dsn->count;
	if (was_ready) {
		db->tried = 0;
		db->settings.on_state(false, db->settings.arg);
	} else {
		db->tried++;
	}
	bool round_over = db->tried >= db->settings.dsn->count;
	if (round_over) {
		db->told_down = true;
		db->hopeful = false;
		db->tried = 0;
		finish_all(db, &db->waiting, DATABASE_UNAVAILABLE);
	}
	finish_all(db, &db->sent, DATABASE_UNKNOWN);
	set_timer(db, round_over || was_ready
			      ? database_pause_ms(db->failures, randombytes_random())
			      : 1);
	if (round_over && db->failures < 16)
		db->failures++;
}

/* libpq may have another socket now: an event for it, for one step. */
static void await_step(struct database *db, PostgresPollingStatusType step)
{
	int fd = PQsocket(db->conn);
	short what = step == PGRES_POLLING_WRITING ? EV_WRITE : EV_READ;

	if (db->readable != NULL)
		event_free(db->readable);
	db->readable = fd == -1 ? NULL : event_new(db->base, fd, what, on_poll, db);
	if (db->readable == NULL || event_add(db->readable, NULL) == -1)
		fail_connection(db, "memory", "");
}

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
	struct database *db = arg;
	PostgresPollingStatusType step = PQconnectPoll(db->conn);

	(void)fd;
	(void)what;
	if (step == PGRES_POLLING_FAILED)
		fail_connection(db, "connect", PQerrorMessage(db->conn));
	else if (step == PGRES_POLLING_OK)
		start_preparing(db);
	else
		await_step(db, step);
}

/* The server's notices are not for standard error. */
static void ignore_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

static void start_attempt(struct database *db)
{
	const struct dsn_target *target = &db->settings.dsn->targets[db->target];

	db->conn = PQconnectStartParams(target->keywords, (const char *const *)target->values, 0);
	db->state = STATE_CONNECTING;
	if (db->conn == NULL || PQstatus(db->conn) == CONNECTION_BAD) {
		fail_connection(db, "connect",
			db->conn == NULL ? "out of memory" : PQerrorMessage(db->conn));
		return;
	}
	PQsetNoticeReceiver(db->conn, ignore_notice, NULL);
	set_timer(db, DATABASE_CONNECT_MS);
	await_step(db, PGRES_POLLING_WRITING);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct database *db = arg;

	(void)fd;
	(void)what;
	if (db->state == STATE_PAUSING)
		start_attempt(db);
	else
		fail_connection(db, "timeout", "no connection within its deadline");
}

/* ------------------------------------------------------- deadlines and ping */
static void on_ping(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	(void)result;
	(void)rows;
	(void)arg;
	(void)token;
}

static void fail_overdue_waiting(struct database *db, uint64_t now)
{
	while (!TAILQ_EMPTY(&db->waiting) && TAILQ_FIRST(&db->waiting)->deadline_ms <= now) {
		struct call *call = TAILQ_FIRST(&db->waiting);
		TAILQ_REMOVE(&db->waiting, call, link);
		finish(db, call, DATABASE_UNAVAILABLE);
	}
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct database *db = arg;
	uint64_t now = clock_monotonic_ms();

	(void)fd;
	(void)what;
	if (!TAILQ_EMPTY(&db->sent) && TAILQ_FIRST(&db->sent)->deadline_ms <= now)
		fail_connection(db, "timeout", "a query passed its deadline");
	fail_overdue_waiting(db, now);
	/* A server that froze or was cut off is noticed before a client needs it. */
	if (db->state == STATE_READY && db->queued == 0 &&
		now - db->active_ms >= DATABASE_PING_MS &&
		!database_query(db, QUERY_CONTRACT, NULL, on_ping, NULL, 0))
		log_message(LOG_DEBUG, "database-ping", "not sent");
	arm_sweep(db);
}

struct database *database_open(struct event_base *base, const struct database_settings *settings)
{
	struct database *db = calloc(1, sizeof *db);

	if (db == NULL)
		return NULL;
	db->base = base;
	db->settings = *settings;
	db->hopeful = true;
	TAILQ_INIT(&db->waiting);
	TAILQ_INIT(&db->sent);
	db->timer = evtimer_new(base, on_timer, db);
	db->sweep = evtimer_new(base, on_sweep, db);
	if (db->timer == NULL || db->sweep == NULL) {
		database_close(&db);
		return NULL;
	}
	set_timer(db, 0);
	return db;
}

void database_close(struct database **pointer)
{
	struct database *db = *pointer;

	if (db == NULL)
		return;
	*pointer = NULL;
	drop_events(db);
	PQfinish(db->conn);
	db->state = STATE_PAUSING;
	db->hopeful = false; /* no callback may queue anew */
	finish_all(db, &db->waiting, DATABASE_UNAVAILABLE);
	finish_all(db, &db->sent, DATABASE_UNKNOWN);
	if (db->timer != NULL)
		event_free(db->timer);
	if (db->sweep != NULL)
		event_free(db->sweep);
	free(db);
}
