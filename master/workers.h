/* SPDX-License-Identifier: ISC */
/*
 * How many processes this machine gives us work for: the CPUs of our affinity, or fewer where the
 * control group grants less time.  Reads /proc and /sys; the master, before its first fork.
 */
#ifndef MASTER_WORKERS_H
#define MASTER_WORKERS_H

/* At least 1, at most CONFIG_WORKERS_MAX. */
unsigned workers_auto(void);

/* cpu.max of a control group ("max 100000", "150000 100000") in whole CPUs, rounded up; 0: no
 * limit. */
unsigned workers_parse_cpu_max(const char *text);

#endif
