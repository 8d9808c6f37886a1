/* SPDX-License-Identifier: ISC */
/*
 * How a child gives up what it does not need; see child.h.
 *
 * The order matters: limits and chroot while it still may, the bounding set while it has
 * CAP_SETPCAP, then groups before the user, then what setresuid() resets (dumpable, the parent's
 * death signal), and the filter last.  Raw capset(): libcap would be a dependency for one call.
 */
#include "common/child.h"
#include "common/child_filter.h"
#include "common/log.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

/* A child that is half confined must not run. */
static _Noreturn void fail(const char *step, const char *advice)
{
	log_message(LOG_ERROR, "confine-failed", "%s: %s; %s", step, strerror(errno), advice);
	log_flush();
	_exit(EX_OSERR);
}

static void set_limits(void)
{
	const struct rlimit none = {0, 0};
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &none) == -1)
		fail("setting the core limit to 0", "this should never fail");
	if (getrlimit(RLIMIT_NOFILE, &files) == -1)
		fail("reading the descriptor limit", "this should never fail");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) == -1)
		fail("raising the descriptor limit", "check LimitNOFILE= or ulimit -n");
}

static void change_root(const char *directory)
{
	if (chdir(directory) == -1 || chroot(".") == -1 || chdir("/") == -1)
		fail(directory, "it must be a directory that the master can chroot into");
}

/* Until the kernel says that there is no such capability. */
static void drop_bounding_set(bool must)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != -1; cap++) {
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == -1 && must)
			fail("dropping the capability bounding set",
				"the master needs CAP_SETPCAP for it");
	}
}

static void change_user(uint32_t uid, uint32_t gid)
{
	if (setgroups(0, NULL) == -1 || setresgid(gid, gid, gid) == -1 ||
		setresuid(uid, uid, uid) == -1)
		fail("changing to its user", "the master needs CAP_SETUID and CAP_SETGID for it");
	if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0)
		fail("giving up root", "it could be taken back; is its user root?");
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	/* EINVAL: a kernel without ambient capabilities. */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == -1 && errno != EINVAL)
		fail("clearing ambient capabilities", "this should never fail");
	if (syscall(SYS_capset, &header, none) == -1)
		fail("dropping capabilities", "this should never fail");
}

static void lock_down(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		fail("no-new-privileges", "the kernel must be 3.5 or later");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
		fail("becoming non-dumpable", "this should never fail");
	/* A master that died before this line is noticed by the end of the control socket. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == -1)
		fail("asking for the parent's death signal", "this should never fail");
}

void child_confine(const struct child_start *start, enum child_syscalls syscalls,
	const char *root_directory_override)
{
	const struct child_confinement *to = start->confinement;

	set_limits();
	if (to->root) {
		change_root(root_directory_override != NULL ? root_directory_override
							    : to->root_directory);
		drop_bounding_set(true);
		change_user(to->uid, to->gid);
	} else {
		drop_bounding_set(false);
	}
	drop_capabilities();
	lock_down();
	if (!child_filter_install(syscalls))
		fail("installing the system call filter", "the kernel must have seccomp filters");
}
