/* SPDX-License-Identifier: ISC */
/*
 * The master's own confinement.
 *
 * In root mode it stays root, with the capabilities that making children needs and no other.  It
 * opens files of the operator's (certificates, read by each new proxy before its chroot), so there
 * is no filter and no chroot; it reads no byte of a peer.
 */
#include "master/sandbox.h"

#include "common/log.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Why each: */
static const unsigned kept[] = {
	CAP_SETUID, CAP_SETGID, /* children change to their users */
	CAP_SETPCAP,            /* ... and empty their bounding set */
	CAP_SYS_CHROOT,         /* ... and their root directory */
	CAP_KILL,               /* to end those that hang */
	CAP_CHOWN,              /* files for children */
	CAP_DAC_READ_SEARCH,    /* certificates and keys, whoever owns them */
	CAP_NET_BIND_SERVICE,   /* addresses of a later configuration */
};

static bool fail(const char *step)
{
	log_message(LOG_ERROR, "sandbox-failed", "the master: %s: %s", step, strerror(errno));
	return false;
}

static uint64_t kept_mask(void)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		mask |= UINT64_C(1) << kept[i];
	return mask;
}

static bool set_limits(void)
{
	const struct rlimit none = {0, 0};
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &none) == -1)
		return fail("core limit");
	if (getrlimit(RLIMIT_NOFILE, &files) == -1)
		return fail("descriptor limit");
	files.rlim_cur = files.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &files) == 0 || fail("descriptor limit");
}

static bool drop_bounding_set(uint64_t mask)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != -1; cap++) {
		if (cap < 64 && (mask & (UINT64_C(1) << cap)) != 0)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == -1)
			return fail("capability bounding set");
	}
	return true;
}

/* Of what is there: a container may have taken some, and then the step that needs it will say so.
 */
static bool keep_capabilities(uint64_t mask)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) == -1)
		return fail("reading capabilities");
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		uint32_t word = (uint32_t)(mask >> (32 * i));
		data[i].permitted &= word;
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data) == 0 || fail("dropping capabilities");
}

bool sandbox_enter(bool root)
{
	if (!set_limits())
		return false;
	if (root && (!drop_bounding_set(kept_mask()) || !keep_capabilities(kept_mask())))
		return false;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		return fail("no-new-privileges");
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 || fail("becoming non-dumpable");
}
