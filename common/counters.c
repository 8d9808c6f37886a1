/* SPDX-License-Identifier: ISC */
/* Counter pages in sealed memfds; see counters.h. */
#include "common/counters.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const struct counter_info counter_info[COUNTER_COUNT] = {
#define COUNTER(id, metric, help) {metric, help, false},
#define GAUGE(id, metric, help) {metric, help, true},
#include "common/counters.def"
#undef COUNTER
#undef GAUGE
};

static struct counters private_page;
static struct counters *own = &private_page;

int counters_create(struct counters **mapped_out)
{
	int fd = memfd_create("postern-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd == -1)
		return -1;
	if (ftruncate(fd, sizeof(struct counters)) == -1)
		goto fail;
	void *page = mmap(NULL, sizeof(struct counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		goto fail;
	/* Kernels before 5.1 lack FUTURE_WRITE; the size at least is sealed everywhere. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE) == -1)
		(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	*mapped_out = page;
	return fd;
fail : {
	int saved = errno;
	close(fd);
	errno = saved;
}
	return -1;
}

const struct counters *counters_map(int fd)
{
	void *page = mmap(NULL, sizeof(struct counters), PROT_READ, MAP_SHARED, fd, 0);

	return page == MAP_FAILED ? NULL : page;
}

void counters_unmap(const struct counters *counters)
{
	if (counters != NULL)
		munmap((void *)(uintptr_t)counters, sizeof *counters);
}

uint64_t counter_read(const struct counters *page, enum counter counter)
{
	return __atomic_load_n(&page->values[counter], __ATOMIC_RELAXED);
}

/* Only the owner writes, so load and store need not be one step. */
static void store(enum counter counter, uint64_t value)
{
	__atomic_store_n(&own->values[counter], value, __ATOMIC_RELAXED);
}

void counters_fold(struct counters *into, struct counters *from)
{
	uint64_t folds = into->folds;

	/* A release each, so that none is seen before the odd count.  Not fences: TSan has none. */
	__atomic_store_n(&into->folds, folds + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&from->retired, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < COUNTER_COUNT; i++) {
		if (!counter_info[i].gauge)
			__atomic_store_n(&into->values[i],
				into->values[i] + counter_read(from, (enum counter)i),
				__ATOMIC_RELEASE);
	}
	__atomic_store_n(&into->folds, folds + 2, __ATOMIC_RELEASE);
}

static void add_pages(
	const struct counters *const *pages, size_t count, uint64_t total[COUNTER_COUNT])
{
	memset(total, 0, COUNTER_COUNT * sizeof *total);
	for (size_t n = 0; n < count; n++) {
		if (__atomic_load_n(&pages[n]->retired, __ATOMIC_ACQUIRE) != 0)
			continue;
		for (int i = 0; i < COUNTER_COUNT; i++)
			total[i] += __atomic_load_n(&pages[n]->values[i], __ATOMIC_ACQUIRE);
	}
}

void counters_total(
	const struct counters *const *pages, size_t count, uint64_t total_out[COUNTER_COUNT])
{
	/* A fold takes a microsecond; a master that died within one must not hang its reader. */
	for (int attempt = 0; attempt < 1000; attempt++) {
		uint64_t before = __atomic_load_n(&pages[0]->folds, __ATOMIC_ACQUIRE);
		add_pages(pages, count, total_out);
		uint64_t after = __atomic_load_n(&pages[0]->folds, __ATOMIC_RELAXED);
		if (before == after && before % 2 == 0)
			return;
		sched_yield();
	}
}

void counters_own(struct counters *page)
{
	own = page;
}

void counter_add(enum counter counter, uint64_t amount)
{
	store(counter, own->values[counter] + amount);
}

void counter_set(enum counter gauge, uint64_t value)
{
	store(gauge, value);
}

void counter_sub(enum counter gauge, uint64_t amount)
{
	store(gauge, own->values[gauge] < amount ? 0 : own->values[gauge] - amount);
}

void counters_heartbeat(uint64_t now_ms)
{
	__atomic_store_n(&own->heartbeat_ms, now_ms, __ATOMIC_RELAXED);
}

uint64_t counters_last_heartbeat(const struct counters *page)
{
	return __atomic_load_n(&page->heartbeat_ms, __ATOMIC_RELAXED);
}
