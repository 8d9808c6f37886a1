/* SPDX-License-Identifier: ISC */
/*
 * TLS contexts: one a listener, so that a session ticket of one is worth nothing at another.
 * RFC 8446, 9325 (TLS 1.2 and 1.3, ECDHE with AEAD only), 7301 (ALPN), 5077 (tickets).
 *
 * Ticket keys are derived from a seed that all workers of this master share, an hour number and the
 * listener's name; tickets of this hour and the one before are taken.  Contexts are made before the
 * process is confined, since they read files.
 */
#ifndef PROXY_TLS_H
#define PROXY_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TLS_SEED_BYTES = 32 };

struct tls_context;

/*
 * Reads chain and key.  NULL: error_out holds a sentence (which file, what is wrong).  seed stays
 * the caller's and must live as long as the context.
 */
struct tls_context *tls_context_new(const char *listener, const char *chain_file,
	const char *key_file, const uint8_t seed[TLS_SEED_BYTES], char *error_out, size_t room)
	__attribute__((warn_unused_result));
/* Whether the leaf names a host by dNSName or iPAddress: a common name alone is read by no client
 * any more (RFC 7817, RFC 9525 2). */
bool tls_context_names_host(const struct tls_context *context);

void tls_context_free(struct tls_context **context);

/* A new server session; NULL: out of memory. */
SSL *tls_accept(struct tls_context *context) __attribute__((warn_unused_result));

#endif
