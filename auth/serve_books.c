/* SPDX-License-Identifier: ISC */
/* The spool among the other parts of auth; see serve.h and spool.h. */
#include "auth/serve.h"

#include "common/clock.h"

static void on_batch(void *arg)
{
	(void)arg;
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

	(void)dsn;
	service->spool = spool_new(service->base, &settings, clock_monotonic_ms());
	if (service->spool == NULL)
		return false;
	serve_outcome_restore(service);
	return true;
}

void serve_books_destroy(struct service *service)
{
	spool_destroy(&service->spool);
}

void serve_books_tick(struct service *service, uint64_t now_ms)
{
	spool_tick(service->spool, now_ms);
}

bool serve_books_settled(struct service *service)
{
	spool_close_batch(service->spool);
	return true;
}
