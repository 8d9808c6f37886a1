/* SPDX-License-Identifier: ISC */
/*
 * The seccomp allow-lists; see child_filter.h.
 *
 * Whatever is not named here kills the process (SIGSYS), and the master logs it: a call that nobody
 * foresaw is a bug of ours or an intruder's.  Only calls that libraries try without needing them
 * get an error instead.  No list has exec, fork, ptrace, kill of others, or the opening of files;
 * threads are auth's alone: one begins under the filter and has all of it.
 */
#include "common/child_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALL(name) SCMP_SYS(name)

/* The loop, memory, time, signals and the end: all that computing needs. */
static const int compute_calls[] = {
	CALL(read),
	CALL(readv),
	CALL(write),
	CALL(writev),
	CALL(close),
	CALL(recvmsg),
	CALL(recvfrom),
	CALL(sendmsg),
	CALL(sendto),
	CALL(poll),
	CALL(ppoll),
	CALL(epoll_create1),
	CALL(epoll_ctl),
	CALL(epoll_wait),
	CALL(epoll_pwait),
	CALL(eventfd2),
	CALL(pipe2),
	CALL(mlock),
	CALL(munlock),
	CALL(munmap),
	CALL(madvise),
	CALL(mremap),
	CALL(brk),
	CALL(futex),
	CALL(getrandom),
	CALL(clock_gettime),
	CALL(clock_nanosleep),
	CALL(nanosleep),
	CALL(gettimeofday),
	CALL(time),
	CALL(getpid),
	CALL(gettid),
	CALL(getuid),
	CALL(geteuid),
	CALL(getgid),
	CALL(getegid),
	CALL(exit),
	CALL(exit_group),
	CALL(rt_sigaction),
	CALL(rt_sigprocmask),
	CALL(rt_sigreturn),
	CALL(sigaltstack),
	CALL(restart_syscall),
	CALL(sched_yield),
	CALL(sched_getaffinity),
	CALL(getrusage),
	CALL(fstat),
	CALL(lseek),
	CALL(getcpu),
	CALL(sysinfo),
	CALL(uname),
};

/* ... and what sockets need. */
static const int network_calls[] = {
	CALL(connect),
	CALL(bind),
	CALL(accept4),
	CALL(shutdown),
	CALL(getsockname),
	CALL(getpeername),
	CALL(setsockopt),
	CALL(getsockopt),
	CALL(select),
	CALL(pselect6),
	CALL(timerfd_create),
	CALL(timerfd_settime),
	CALL(dup),
	CALL(fsync),
	CALL(fdatasync),
};

/* ... and what the spool's thread does with the files that it was given open. */
static const int spool_calls[] = {
	CALL(pread64),
	CALL(pwrite64),
	CALL(pwritev),
	CALL(pwritev2),
	CALL(ftruncate),
	/* What glibc does at the beginning of each thread. */
	CALL(set_robust_list),
	CALL(rseq),
};

/* Tried by libpq, libcrypto and libc's resolver; the answer "there is none" is the truth. */
static const int no_file_calls[] = {CALL(stat), CALL(lstat), CALL(newfstatat), CALL(statx),
	CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink), CALL(readlinkat)};
static const int no_open_calls[] = {CALL(open), CALL(openat), CALL(openat2)};

static const int descriptor_flags[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_DUPFD_CLOEXEC};
static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
static const unsigned long requests[] = {FIONREAD, FIONBIO};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Sets errno from libseccomp's negative results. */
static bool ok(int status)
{
	if (status >= 0)
		return true;
	errno = -status;
	return false;
}

static bool add_calls(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!ok(seccomp_rule_add(filter, action, calls[i], 0)))
			return false;
	}
	return true;
}

static bool add_memory(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);

	return ok(seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(mmap), 1, not_executable)) &&
	       ok(seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(mprotect), 1, not_executable));
}

/* Calls whose arguments decide. */
static bool add_shared_conditions(scmp_filter_ctx filter)
{
	/* abort() and raise(): a signal to itself only. */
	if (!ok(seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(tgkill), 1,
		    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()))))
		return false;
	/* Limits are read, never set, and only its own. */
	if (!ok(seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(prlimit64), 2,
		    SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0))))
		return false;
	for (size_t i = 0; i < COUNT(descriptor_flags); i++) {
		if (!ok(seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(fcntl), 1,
			    SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)descriptor_flags[i]))))
			return false;
	}
	return add_memory(filter);
}

static bool add_sockets(scmp_filter_ctx filter)
{
	for (size_t i = 0; i < COUNT(families); i++) {
		if (!ok(seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(socket), 1,
			    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]))))
			return false;
	}
	/* glibc's getaddrinfo() asks netlink which families exist, and lives without an answer. */
	if (!ok(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), CALL(socket), 1,
		    SCMP_A0(SCMP_CMP_EQ, AF_NETLINK))))
		return false;
	for (size_t i = 0; i < COUNT(requests); i++) {
		if (!ok(seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(ioctl), 1,
			    SCMP_A1(SCMP_CMP_EQ, requests[i]))))
			return false;
	}
	return true;
}

/*
 * A thread of this process and nothing else: CLONE_THREAD wants CLONE_SIGHAND, and that CLONE_VM.
 * The arguments of clone3() lie in memory, where no filter sees them: glibc takes clone() then.
 */
static bool add_threads(scmp_filter_ctx filter)
{
	static const scmp_datum_t wanted = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_FILES;
	static const scmp_datum_t unwanted = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
					     CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
					     CLONE_NEWNET;

	return ok(seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(clone), 1,
		       SCMP_A0(SCMP_CMP_MASKED_EQ, wanted | unwanted, wanted))) &&
	       ok(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0));
}

static bool fill(scmp_filter_ctx filter, enum child_syscalls syscalls)
{
	if (!add_calls(filter, SCMP_ACT_ALLOW, compute_calls, COUNT(compute_calls)) ||
		!add_calls(filter, SCMP_ACT_ERRNO(EACCES), no_open_calls, COUNT(no_open_calls)) ||
		!add_calls(filter, SCMP_ACT_ERRNO(ENOENT), no_file_calls, COUNT(no_file_calls)) ||
		!add_shared_conditions(filter))
		return false;
	switch (syscalls) {
	case CHILD_SYSCALLS_COMPUTE:
		return true;
	case CHILD_SYSCALLS_NETWORK:
		return add_calls(filter, SCMP_ACT_ALLOW, network_calls, COUNT(network_calls)) &&
		       add_sockets(filter);
	case CHILD_SYSCALLS_SPOOL:
		return add_calls(filter, SCMP_ACT_ALLOW, network_calls, COUNT(network_calls)) &&
		       add_sockets(filter) &&
		       add_calls(filter, SCMP_ACT_ALLOW, spool_calls, COUNT(spool_calls)) &&
		       add_threads(filter);
	}
	errno = EINVAL;
	return false;
}

#ifndef POSTERN_SANITIZER
static int is_valgrind(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	if (info->dlpi_name != NULL && strstr(info->dlpi_name, "/vgpreload_") != NULL)
		*(bool *)arg = true;
	return 0;
}
#endif

bool child_filter_applies(void)
{
#ifdef POSTERN_SANITIZER
	return false;
#else
	bool valgrind = false;

	dl_iterate_phdr(is_valgrind, &valgrind);
	return !valgrind;
#endif
}

bool child_filter_install(enum child_syscalls syscalls)
{
	if (!child_filter_applies())
		return true;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (filter == NULL) {
		errno = ENOMEM;
		return false;
	}
	bool done = ok(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)) &&
		    /* A binary tree: a list of 80 would be walked at each call. */
		    ok(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2)) &&
		    fill(filter, syscalls) && ok(seccomp_load(filter));
	int saved = errno;
	seccomp_release(filter);
	errno = saved;
	return done;
}
