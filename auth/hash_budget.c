/* SPDX-License-Identifier: ISC */
/*
 * The memory budget of the hash pool, checked at start and by -t (declared in hash_pool.h).
 *
 * A pool that does not fit its cgroup is killed under the first wave of log-ins, so it is refused
 * before.  Runs in the master, before anything is confined; reads /proc and /sys.
 */
#include "auth/hash_pool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t physical_bytes(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages <= 0 || size <= 0 ? UINT64_MAX : (uint64_t)pages * (uint64_t)size;
}

/* A file that holds one number; "max" and what cannot be read are no limit. */
static uint64_t read_limit(const char *path)
{
	char text[32] = "";
	char *end;
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return UINT64_MAX;
	size_t len = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[len] = '\0';
	unsigned long long value = strtoull(text, &end, 10);
	return end == text ? UINT64_MAX : value;
}

/* cgroup 2: the tightest memory.max from this process's group up to the root. */
static uint64_t cgroup_limit_of(char *group)
{
	uint64_t limit = UINT64_MAX;
	char path[4096];

	for (;;) {
		snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
		uint64_t here = read_limit(path);
		limit = here < limit ? here : limit;
		char *slash = strrchr(group, '/');
		if (slash == NULL)
			return limit;
		*slash = '\0';
	}
}

static uint64_t cgroup_bytes(void)
{
	uint64_t limit = read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"); /* cgroup 1 */
	char line[4000];
	FILE *file = fopen("/proc/self/cgroup", "re");

	if (file == NULL)
		return limit;
	while (fgets(line, sizeof line, file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		uint64_t here = cgroup_limit_of(line + 3);
		limit = here < limit ? here : limit;
	}
	fclose(file);
	return limit;
}

static bool fits(uint64_t need, uint64_t have, const char *what, unsigned processes, char *err,
	size_t err_size)
{
	if (need <= have)
		return true;
	snprintf(err, err_size,
		"%u hash processes need %" PRIu64 " MiB at once, but %s is %" PRIu64
		" MiB: lower password.processes or password.memory",
		processes, need >> 20, what, have >> 20);
	return false;
}

bool hash_pool_budget_check(
	const struct config *config, unsigned processes, char *err, size_t err_size)
{
	uint64_t each = config->password.memory_bytes;

	if (processes == 0 || each > UINT64_MAX / processes) {
		snprintf(err, err_size, "password.processes and password.memory are out of range");
		return false;
	}
	uint64_t need = each * processes;
	return fits(need, config->password.memory_budget_bytes, "password.memory_budget", processes,
		       err, err_size) &&
	       fits(need, cgroup_bytes(), "the memory limit of the control group", processes, err,
		       err_size) &&
	       fits(need, physical_bytes(), "the machine's memory", processes, err, err_size);
}
