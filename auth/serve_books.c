/* SPDX-License-Identifier: ISC */
/*
 * The spool and what takes it into the books, among the other parts of auth; see serve.h, spool.h
 * and usage.h.
 */
#include "auth/serve.h"

#include "auth/usage.h"
#include "common/clock.h"

enum { BOOKS_QUEUE_MAX = 64 };

static void on_batch(void *arg)
{
	struct service *service = arg;

	if (service->books_ready)
		usage_look(service->usage, clock_monotonic_ms());
}

static void on_state(bool ready, void *arg)
{
	struct service *service = arg;

	service->books_ready = ready;
	if (ready)
		on_batch(service);
}

bool serve_books(struct service *service, const struct dsn *dsn, const struct spool_files *files)
{
	const struct spool_settings settings = {
		.files = files,
		.size_bytes = service->config->spool.size_bytes,
		.sync = service->config->spool.sync == SPOOL_SYNC_DISK,
		.expire_ms = service_take_expires_ms(service->config),
		.on_batch = on_batch,
		.arg = service,
	};
	const struct database_settings connection = {
		.name = "usage",
		.dsn = dsn,
		.queue_max = BOOKS_QUEUE_MAX,
		.on_state = on_state,
		.arg = service,
	};

	service->spool = spool_new(service->base, &settings, clock_monotonic_ms());
	service->books = database_open(service->base, &connection);
	if (service->spool == NULL || service->books == NULL)
		return false;
	const struct usage_settings uploads = {
		.spool = service->spool,
		.ask = database_query,
		.database = service->books,
	};
	service->usage = usage_new(&uploads);
	if (service->usage == NULL)
		return false;
	serve_outcome_restore(service);
	return true;
}

/* What is under way is answered, and needs the spool: that is the last to go. */
void serve_books_destroy(struct service *service)
{
	database_close(&service->books);
	spool_destroy(&service->spool);
	usage_destroy(&service->usage);
}

void serve_books_tick(struct service *service, uint64_t now_ms)
{
	spool_tick(service->spool, now_ms);
	if (service->books_ready)
		usage_tick(service->usage, now_ms);
}

bool serve_books_settled(struct service *service)
{
	spool_close_batch(service->spool);
	return !service->books_ready || spool_waiting(service->spool) == 0;
}
