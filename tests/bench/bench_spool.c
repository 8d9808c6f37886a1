/* SPDX-License-Identifier: ISC */
/*
 * What the spool adds to a message: so many messages at a time, each an intent, then its outcome,
 * then the next one.  Says how many records a second, and how long an intent waited.
 *
 *	build/release/bench/bench_spool DIRECTORY [disk|os]
 */
#include "auth/spool.h"
#include "common/clock.h"
#include "common/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES_MAX = 1000 * 1000, RUN_MS = 3000, CLIENTS_MAX = 1024 };

static struct event_base *base;
static struct spool *spool;
static uint64_t started_us[CLIENTS_MAX], last_tid;
static uint32_t samples[SAMPLES_MAX];
static size_t sample_count, refused, active;
static bool stopping;

static void begin(uint64_t client);

static void on_outcome(bool recorded, void *arg, uint64_t client)
{
	(void)arg;
	refused += recorded ? 0 : 1;
	active--;
	if (!stopping)
		begin(client);
}

static void on_intent(bool recorded, void *arg, uint64_t client)
{
	uint64_t *tid = arg;
	const struct spool_end end = {.tid = *tid,
		.kind = IPC_OUTCOME_ACCEPTED,
		.code = 250,
		.at_ms = clock_wall_ms(),
		.queue_id_len = 12,
		.queue_id = (const uint8_t *)"4XyZ1a2b3c4d"};

	free(tid);
	if (sample_count < SAMPLES_MAX)
		samples[sample_count++] = (uint32_t)(clock_monotonic_us() - started_us[client]);
	if (!recorded || spool_outcome(spool, &end, on_outcome, NULL, client) != SPOOL_WAITING) {
		refused++;
		active--;
	}
}

static void begin(uint64_t client)
{
	struct spool_message message = {.tid = ++last_tid,
		.account = 7,
		.recipients = 1,
		.bytes = 4000,
		.sender_len = 24,
		.backend_len = 15};
	uint64_t *tid = malloc(sizeof *tid);

	if (tid == NULL)
		return;
	*tid = last_tid;
	memset(message.sender, 's', 24);
	memset(message.backend, 'b', 15);
	started_us[client] = clock_monotonic_us();
	active++;
	if (spool_intent(spool, &message, clock_monotonic_ms(), on_intent, tid, client) !=
		SPOOL_WAITING) {
		refused++;
		active--;
		free(tid);
	}
}

/* The database takes all at once. */
static void on_batch(void *arg)
{
	const struct spool_batch *batch;

	(void)arg;
	for (batch = spool_batch_next(spool); batch != NULL; batch = spool_batch_next(spool))
		spool_batch_uploaded(spool, batch);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void run(size_t clients)
{
	const struct timeval length = {RUN_MS / 1000, 0};
	uint64_t from_us = clock_monotonic_us();

	sample_count = refused = 0;
	stopping = false;
	for (uint64_t i = 0; i < clients; i++)
		begin(i);
	event_base_loopexit(base, &length);
	event_base_dispatch(base);
	stopping = true;
	uint64_t took_us = clock_monotonic_us() - from_us;
	size_t count = sample_count;
	while (active > 0)
		event_base_loop(base, EVLOOP_ONCE);
	qsort(samples, count, sizeof *samples, compare);
	printf("%5zu at a time: %7.0f messages/s, intent p50 %6u us, p99 %6u us, refused %zu\n",
		clients, (double)count * 1e6 / (double)took_us, samples[count / 2],
		samples[count * 99 / 100], refused);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const size_t clients[] = {1, 8, 64, 512};
	struct spool_files files;
	char err[256];

	if (argc < 2 || sodium_init() == -1)
		return 64;
	log_open("bench", STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_ERROR);
	if (!spool_files_open(&files, argv[1], err, sizeof err)) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	base = event_base_new();
	const struct spool_settings settings = {.files = &files,
		.size_bytes = UINT64_C(256) << 20,
		.sync = argc < 3 || strcmp(argv[2], "os") != 0,
		.expire_ms = 3600 * 1000,
		.on_batch = on_batch};
	spool = base == NULL ? NULL : spool_new(base, &settings, clock_monotonic_ms());
	if (spool == NULL)
		return 1;
	for (size_t i = 0; i < sizeof clients / sizeof *clients; i++)
		run(clients[i]);
	spool_destroy(&spool);
	spool_files_close(&files);
	event_base_free(base);
	return 0;
}
