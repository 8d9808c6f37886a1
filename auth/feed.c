/* SPDX-License-Identifier: ISC */
/*
 * The change feed; see feed.h.
 *
 * One poll at a time; what is heard meanwhile makes another one follow.  The cursor outlives the
 * connection, so that a new one tells what was missed.  Another epoch (a promoted standby, a
 * restore) means that what was read may never have happened.
 */
#include "auth/feed.h"

#include "auth/database.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
	QUEUE_MAX = 4,        /* a poll, a cleaning, a ping */
	CLEAN_MS = 60 * 1000, /* each node at random within it, and as long again */
};

struct feed {
	const struct feed_events *events;
	void *arg;
	struct database *database;
	struct event *due, *lapse, *clean;
	bool polling, again, trusted, closing;
	uint64_t polled_ms; /* when the poll in flight was sent */
	struct query_changes
		changes; /* the last answer: its cursor and epoch are the present ones */
	char epoch[QUERY_EPOCH_MAX + 1];
};

static void poll_changes(struct feed *feed);

static void arm(struct event *timer, uint64_t ms)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	event_add(timer, &tv);
}

/* -------------------------------------------------------------------- trust */
static void set_trust(struct feed *feed, bool trusted)
{
	if (feed->trusted == trusted)
		return;
	feed->trusted = trusted;
	counter_set(COUNTER_FEED_UP, trusted);
	log_message(trusted ? LOG_INFO : LOG_ERROR, trusted ? "feed-up" : "feed-down",
		trusted ? "changes are told" : "no word of changes: memory is trusted 10 s only");
	feed->events->on_trust(trusted, feed->arg);
}

static void on_lapse(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	set_trust(arg, false);
}

/* ------------------------------------------------------------------- answers */
static bool is_new_epoch(struct feed *feed)
{
	bool other = feed->epoch[0] != '\0' && strcmp(feed->epoch, feed->changes.epoch) != 0;
	struct log_line line;

	if (other) {
		log_begin(&line, LOG_INFO, "epoch-changed");
		log_text(&line, "from", feed->epoch);
		log_text(&line, "to", feed->changes.epoch);
		log_end(&line);
	}
	memcpy(feed->epoch, feed->changes.epoch, sizeof feed->epoch);
	return other;
}

static void tell(struct feed *feed)
{
	const struct query_changes *changes = &feed->changes;

	bool other = is_new_epoch(feed);
	if (other && feed->events->on_epoch != NULL)
		feed->events->on_epoch(feed->arg);
	if (other || changes->everything) {
		counter_add(COUNTER_FEED_RESYNCS, 1);
		feed->events->on_everything(feed->arg);
		return;
	}
	counter_add(COUNTER_FEED_CHANGES, changes->account_count + changes->credential_count);
	for (size_t i = 0; feed->events->on_credential != NULL && i < changes->credential_count;
		i++)
		feed->events->on_credential(changes->credentials[i], feed->arg);
	for (size_t i = 0; i < changes->account_count; i++)
		feed->events->on_account(changes->accounts[i], feed->arg);
	if (changes->blocks && feed->events->on_blocks != NULL)
		feed->events->on_blocks(feed->arg);
}

/* The poll was sent at polled_ms: what it does not tell is younger. */
static void on_told(struct feed *feed)
{
	uint64_t age_ms = clock_monotonic_ms() - feed->polled_ms;

	tell(feed);
	if (age_ms >= FEED_TRUST_MS)
		return;
	arm(feed->lapse, FEED_TRUST_MS - age_ms);
	set_trust(feed, true);
}

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct feed *feed = arg;
	struct query_changes *changes = &feed->changes;
	char cursor[sizeof changes->cursor];

	(void)token;
	feed->polling = false;
	if (feed->closing)
		return;
	arm(feed->due, result == DATABASE_ROWS ? FEED_POLL_MS : FEED_RETRY_MS);
	if (result != DATABASE_ROWS)
		return;
	memcpy(cursor, changes->cursor, sizeof cursor);
	if (!query_parse_changes(rows, changes)) {
		memcpy(changes->cursor, cursor, sizeof cursor);
		log_message(LOG_ERROR, "query-bad", "changes_since returned another shape of row");
		return;
	}
	counter_add(COUNTER_FEED_POLLS, 1);
	on_told(feed);
	if (feed->again)
		poll_changes(feed);
}

static void poll_changes(struct feed *feed)
{
	const char *values[] = {feed->changes.cursor};

	feed->again = feed->polling;
	if (feed->polling)
		return;
	feed->polled_ms = clock_monotonic_ms();
	feed->polling =
		database_query(feed->database, QUERY_CHANGES_SINCE, values, on_answer, feed, 0);
	if (!feed->polling) /* away: asked again once it is there */
		arm(feed->due, FEED_RETRY_MS);
}

/* ---------------------------------------------------------------- when to ask */
static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	poll_changes(arg);
}

static void on_notify(void *arg)
{
	counter_add(COUNTER_FEED_NOTIFICATIONS, 1);
	poll_changes(arg);
}

static void on_state(bool ready, void *arg)
{
	if (ready)
		poll_changes(arg);
}

/* The log of changes is kept short by whoever comes first. */
static void on_cleaned(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	(void)result;
	(void)rows;
	(void)arg;
	(void)token;
}

static void arm_clean(struct feed *feed)
{
	arm(feed->clean, CLEAN_MS + randombytes_uniform(CLEAN_MS));
}

static void on_clean(evutil_socket_t fd, short what, void *arg)
{
	struct feed *feed = arg;

	(void)fd;
	(void)what;
	if (!database_query(feed->database, QUERY_CHANGES_CLEAN, NULL, on_cleaned, NULL, 0))
		log_message(LOG_DEBUG, "changes-clean", "not sent");
	arm_clean(feed);
}

/* ----------------------------------------------------------------- lifetime */
struct feed *feed_open(
	struct event_base *base, const struct dsn *dsn, const struct feed_events *events, void *arg)
{
	struct feed *feed = calloc(1, sizeof *feed);
	const struct database_settings settings = {
		.name = "feed",
		.dsn = dsn,
		.queue_max = QUEUE_MAX,
		.on_state = on_state,
		.listen = "postern_change",
		.on_notify = on_notify,
		.arg = feed,
	};

	if (feed == NULL)
		return NULL;
	feed->events = events;
	feed->arg = arg;
	feed->due = evtimer_new(base, on_due, feed);
	feed->lapse = evtimer_new(base, on_lapse, feed);
	feed->clean = evtimer_new(base, on_clean, feed);
	feed->database = database_open(base, &settings);
	if (feed->due == NULL || feed->lapse == NULL || feed->clean == NULL ||
		feed->database == NULL) {
		feed_close(&feed);
		return NULL;
	}
	arm_clean(feed);
	return feed;
}

void feed_close(struct feed **pointer)
{
	struct feed *feed = *pointer;

	if (feed == NULL)
		return;
	*pointer = NULL;
	feed->closing = true;
	database_close(&feed->database);
	if (feed->due != NULL)
		event_free(feed->due);
	if (feed->lapse != NULL)
		event_free(feed->lapse);
	if (feed->clean != NULL)
		event_free(feed->clean);
	free(feed);
}
