/* SPDX-License-Identifier: ISC */
/*
 * How many processes this machine gives us work for: the CPUs of our affinity, or fewer where the
 * control group grants less time.  Reads /proc and /sys; the master, before its first fork.
 */
#ifndef MASTER_WORKERS_H
#define MASTER_WORKERS_H

/* At least 1, at most CONFIG_WORKERS_MAX. */
unsigned workers_auto(void);

/*
 * The tightest CPU limit, in whole CPUs rounded up, from a process's control group up to the root;
 * 0: none.  mounts is /sys/fs/cgroup, groups is /proc/self/cgroup.  Versions 2 (cpu.max) and 1
 * (cpu.cfs_quota_us).
 */
unsigned workers_group_limit(const char *mounts, const char *groups);

#endif
