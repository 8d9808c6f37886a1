/* SPDX-License-Identifier: ISC */
/* CPUs by affinity and by control group; see workers.h. */
#include "master/workers.h"

#include "common/config.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
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

/* The first line of a file; false: there is none. */
static bool read_line(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return false;
	bool good = fgets(text, (int)size, file) != NULL;
	fclose(file);
	return good;
}

/* 0: no limit. */
static unsigned whole_cpus(const char *quota_text, const char *period_text)
{
	char *quota_end, *period_end;

	if (quota_text[0] < '0' || quota_text[0] > '9')
		return 0; /* "max", or -1 in version 1 */
	unsigned long long quota = strtoull(quota_text, &quota_end, 10);
	unsigned long long period = strtoull(period_text, &period_end, 10);
	if (quota_end == quota_text || period_end == period_text || quota == 0 || period == 0 ||
		quota == ULLONG_MAX)
		return 0;
	unsigned long long cpus = quota / period + (quota % period != 0);
	return cpus > UINT_MAX ? 0 : (unsigned)cpus;
}

/* cpu.max: "max 100000", "150000 100000". */
static unsigned limit_of_version_2(const char *directory)
{
	char path[PATH_MAX], text[64];

	snprintf(path, sizeof path, "%s/cpu.max", directory);
	if (!read_line(path, text, sizeof text))
		return 0;
	const char *space = strchr(text, ' ');
	return space == NULL ? 0 : whole_cpus(text, space + 1);
}

static unsigned limit_of_version_1(const char *directory)
{
	char path[PATH_MAX], quota[64], period[64];

	snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
	if (!read_line(path, quota, sizeof quota))
		return 0;
	snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
	return read_line(path, period, sizeof period) ? whole_cpus(quota, period) : 0;
}

static unsigned tighter(unsigned a, unsigned b)
{
	if (a == 0 || b == 0)
		return a + b;
	return a < b ? a : b;
}

/* From the group up to the root of its hierarchy: a limit above binds, too. */
static unsigned walk_up(const char *mount, char *group, unsigned (*limit_of)(const char *directory))
{
	char directory[PATH_MAX - 64];
	unsigned limit = 0;

	for (;;) {
		snprintf(directory, sizeof directory, "%s%s", mount, group);
		limit = tighter(limit, limit_of(directory));
		char *slash = strrchr(group, '/');
		if (slash == NULL)
			return limit;
		*slash = '\0';
	}
}

/* In a list like "cpu,cpuacct". */
static bool has_cpu(const char *controllers)
{
	while (controllers[0] != '\0') {
		size_t len = strcspn(controllers, ",");
		if (len == 3 && strncmp(controllers, "cpu", 3) == 0)
			return true;
		controllers += len + (controllers[len] == ',');
	}
	return false;
}

/* "0::/system.slice/postern.service" in version 2, "4:cpu,cpuacct:/postern" in version 1. */
static unsigned limit_of_line(const char *mounts, char *line)
{
	char mount[256];
	char *controllers = strchr(line, ':');
	char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');

	if (group == NULL || strlen(mounts) > sizeof mount - sizeof "/cpu")
		return 0;
	*group++ = '\0';
	controllers++;
	group[strcspn(group, "\n")] = '\0';
	if (controllers[0] == '\0')
		return walk_up(mounts, group, limit_of_version_2);
	if (!has_cpu(controllers))
		return 0;
	snprintf(mount, sizeof mount, "%s/cpu", mounts);
	return walk_up(mount, group, limit_of_version_1);
}

unsigned workers_group_limit(const char *mounts, const char *groups)
{
	char line[GROUP_MAX];
	unsigned limit = 0;
	FILE *file = fopen(groups, "re");

	if (file == NULL)
		return 0;
	while (fgets(line, sizeof line, file) != NULL)
		limit = tighter(limit, limit_of_line(mounts, line));
	fclose(file);
	return limit;
}

unsigned workers_auto(void)
{
	unsigned count = affinity(),
		 limit = workers_group_limit("/sys/fs/cgroup", "/proc/self/cgroup");

	if (limit != 0 && limit < count)
		count = limit;
	return count > CONFIG_WORKERS_MAX ? CONFIG_WORKERS_MAX : count;
}
