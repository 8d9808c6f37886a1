/* SPDX-License-Identifier: ISC */
/*
 * SASL as SMTP carries it (RFC 4954, 4648, 4616; LOGIN by its draft).  Pure; the caller owns and
 * wipes every buffer.  No lenience in base64: alphabet, padding and trailing bits must be
 * canonical.
 */
#ifndef PROXY_SASL_H
#define PROXY_SASL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes len characters in place-safe fashion (out may not overlap).  False: not canonical, or
 * more than room octets.  Zero characters give zero octets. */
bool sasl_base64_decode(const char *text, size_t len, uint8_t *out, size_t room, size_t *len_out)
	__attribute__((warn_unused_result));

struct sasl_plain { /* slices of the decoded message */
	const uint8_t *authzid, *authcid, *password;
	size_t authzid_len, authcid_len, password_len;
};

/* Exactly two NULs, non-empty authcid and password (RFC 4616 2). */
bool sasl_plain_parse(const uint8_t *message, size_t len, struct sasl_plain *out)
	__attribute__((warn_unused_result));

enum sasl_mechanism { SASL_NONE, SASL_PLAIN, SASL_LOGIN };

/*
 * AUTH's arguments: "PLAIN", "PLAIN =", "PLAIN <base64>", "LOGIN ...".  mechanism SASL_NONE: 504.
 * *initial_out is NULL when there is no initial response; "=" gives length 0.  False: syntax (501):
 * no mechanism, or anything after the initial response.
 */
bool sasl_auth_arguments(const char *args, size_t len, enum sasl_mechanism *mechanism_out,
	const char **initial_out, size_t *initial_len_out) __attribute__((warn_unused_result));

#endif
