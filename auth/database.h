/* SPDX-License-Identifier: ISC */
/*
 * One connection to PostgreSQL in the event loop.
 *
 * Owns connecting (one target after the other, each with its own deadline), the prepared
 * statements, the pipeline, a deadline for each query and reconnecting with growing, jittered
 * pauses.  Knows nothing of accounts.  When a query passes its deadline the connection is dropped:
 * statement_timeout does not cover every wait of the server's, and PQcancel blocks, so it is never
 * called.
 *
 * A query is answered only when its transaction has ended at the server (the pipeline's sync came):
 * rows that arrive before a commit that fails are no answer.
 */
#ifndef AUTH_DATABASE_H
#define AUTH_DATABASE_H

#include "auth/dsn.h"
#include "auth/query.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DATABASE_CONNECT_MS = 2000, /* from the first packet to the prepared statements */
	DATABASE_QUERY_MS = 2000,   /* from database_query() to its answer */
	DATABASE_PAUSE_MIN_MS = 50,
	DATABASE_PAUSE_MAX_MS = 5000,
	DATABASE_PING_MS = 2000, /* an idle connection is tried this often */
};

enum database_result {
	DATABASE_ROWS = 1,
	DATABASE_FAILED,      /* the server refused it; nothing of it was done */
	DATABASE_UNAVAILABLE, /* it was never sent */
	DATABASE_UNKNOWN,     /* sent, and no answer: it may have been done */
};

/* rows: valid during the call, NULL unless DATABASE_ROWS. */
typedef void database_done(
	enum database_result result, const PGresult *rows, void *arg, uint64_t token);

struct database;

struct database_settings {
	const char *name; /* for the log; stays the caller's, like dsn */
	const struct dsn *dsn;
	size_t queue_max;                        /* queries waiting or sent */
	void (*on_state)(bool ready, void *arg); /* after each change */
	/* A channel to LISTEN to, a word of this program's own, and what is called when something
	 * was heard on it: ready was told before, and what was missed before is not heard.  NULL:
	 * none.  May not close the connection. */
	const char *listen;
	void (*on_notify)(void *arg);
	void *arg;
};

/* Starts connecting at once.  NULL: out of memory. */
struct database *database_open(struct event_base *base, const struct database_settings *settings)
	__attribute__((warn_unused_result));

/* Every query still out is answered (UNAVAILABLE or UNKNOWN) before it returns. */
void database_close(struct database **database);

/*
 * Sends a query, or keeps it while a connection is being made and nothing says that it will fail.
 * values: as many NUL-terminated texts as the statement has parameters; copied.  true: done is
 * called exactly once, never before return.  false: not taken (away, or the queue is full), done is
 * never called.
 */
bool database_query(struct database *database, enum query query, const char *const *values,
	database_done *done, void *arg, uint64_t token) __attribute__((warn_unused_result));

/* database_query(), or what stands for it in a test. */
typedef bool database_ask(struct database *database, enum query query, const char *const *values,
	database_done *done, void *arg, uint64_t token);

bool database_ready(const struct database *database);

/* The pause before attempt n+1, given a random number: full jitter below a doubling bound.  Pure.
 */
unsigned database_pause_ms(unsigned failures, uint32_t random);

#endif
