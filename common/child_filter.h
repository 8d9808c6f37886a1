/* SPDX-License-Identifier: ISC */
/*
 * The system calls that a confined child may still make (seccomp).  For child_confine() and its
 * test; everything else includes child.h.
 */
#ifndef COMMON_CHILD_FILTER_H
#define COMMON_CHILD_FILTER_H

#include "common/child.h"

/*
 * Installs the filter for good.  False with errno when the kernel refuses.  A no-op that returns
 * true in sanitizer builds and under valgrind, which need more calls than a child does.
 */
bool child_filter_install(enum child_syscalls syscalls) __attribute__((warn_unused_result));

/* Whether child_filter_install() does anything in this process. */
bool child_filter_applies(void);

#endif
