/* SPDX-License-Identifier: ISC */
/* CPUs by affinity and by control group (version 2); see workers.h. */
#include "master/workers.h"

#include "common/config.h"

#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CPUS_MAX = 8192, GROUP_MAX = 3000 };

static unsigned affinity(void)
{
	size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
	cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
	int count = 0;

	if (set != NULL && sched_getaffinity(0, size, set) == 0)
		count = CPU_COUNT_S(size, set);
	CPU_FREE(set);
	return count > 0 ? (unsigned)count : 1;
}

unsigned workers_parse_cpu_max(const char *text)
{
	unsigned long long quota, period;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return 0; /* "max" */
	quota = strtoull(text, &end, 10);
	if (end == text || *end != ' ')
		return 0;
	period = strtoull(end + 1, NULL, 10);
	if (quota == 0 || period == 0 || quota == ULLONG_MAX)
		return 0;
	unsigned long long cpus = quota / period + (quota % period != 0);
	return cpus > UINT_MAX ? 0 : (unsigned)cpus;
}

/* The first line of a file, or "". */
static void read_line(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "re");

	text[0] = '\0';
	if (file == NULL)
		return;
	if (fgets(text, (int)size, file) == NULL)
		text[0] = '\0';
	fclose(file);
}

/* The group's path below the root of version 2 ("0::/system.slice/postern.service"). */
static bool own_group(char group[GROUP_MAX])
{
	char line[GROUP_MAX];
	bool found = false;
	FILE *file = fopen("/proc/self/cgroup", "re");

	if (file == NULL)
		return false;
	while (!found && fgets(line, sizeof line, file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) == 0) {
			snprintf(group, GROUP_MAX, "%s", line + 3);
			found = true;
		}
	}
	fclose(file);
	return found;
}

/* The tightest limit from this process's group up to the root counts. */
static unsigned group_limit(void)
{
	char group[GROUP_MAX], path[GROUP_MAX + 64], text[64];
	unsigned limit = 0;

	if (!own_group(group))
		return 0;
	for (;;) {
		snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
		read_line(path, text, sizeof text);
		unsigned here = workers_parse_cpu_max(text);
		if (here != 0 && (limit == 0 || here < limit))
			limit = here;
		char *slash = strrchr(group, '/');
		if (slash == NULL)
			return limit;
		*slash = '\0';
	}
}

unsigned workers_auto(void)
{
	unsigned count = affinity(), limit = group_limit();

	if (limit != 0 && limit < count)
		count = limit;
	return count > CONFIG_WORKERS_MAX ? CONFIG_WORKERS_MAX : count;
}
