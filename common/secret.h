/* SPDX-License-Identifier: ISC */
/*
 * Secret memory: one guarded, locked slab (sodium_malloc) of fixed slots for secrets in flight, and
 * the wiping allocators for libevent and OpenSSL.
 *
 * One slab a process: sodium_malloc costs 17 us and five mappings, and the kernel has 65,530 of
 * them, so one a session would not do.  A slot is wiped when it is given back.  One thread.
 */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SECRET_BYTES_MAX = 1024,  /* a password after preparation; RFC 4616 asks for 255 at least */
	SECRET_SLOT_BYTES = 2048, /* a whole PLAIN message: two identities and a password */
};

struct secret {
	size_t len;
	uint8_t bytes[SECRET_SLOT_BYTES - sizeof(size_t)];
};

/* Makes the slab; false: no memory (or RLIMIT_MEMLOCK, which is only a warning in the log). */
bool secret_slab_open(size_t slots) __attribute__((warn_unused_result));
void secret_slab_close(void);

/* NULL: all slots are in use; answer 454. */
struct secret *secret_take(void);
void secret_release(struct secret **secret); /* wipes; NULL is allowed */
size_t secret_in_use(void);

/*
 * libevent: every free wipes what it frees (buffers held passwords).  Before any other libevent
 * call. OpenSSL: the same through CRYPTO_set_mem_functions, before any other OpenSSL call.
 */
void secret_wipe_libevent(void);
void secret_wipe_openssl(void);

#endif
