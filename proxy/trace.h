/* SPDX-License-Identifier: ISC */
/*
 * The one Received: line that Postern puts on top of a message (RFC 5321 4.4, 3848, 4954 7).  Pure.
 */
#ifndef PROXY_TRACE_H
#define PROXY_TRACE_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRACE_MAX = 2048 };

struct trace_info {
	const char *hostname;         /* ours */
	const char *helo;             /* the client's, already valid; NULL or hidden: left out */
	const char *login;            /* NULL: hidden */
	const struct address *client; /* NULL: hidden */
	const char *tls_version, *tls_cipher; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384"; NULL: none */
	bool esmtp, smtputf8; /* with ESMTPSA, UTF8SMTPSA (RFC 6531), or SMTP after HELO */
	uint64_t transaction;
	const char *recipient; /* FOR; NULL unless there is exactly one */
	uint64_t wall_ms;
};

/* Writes the folded header with its CRLF, every line <= 998 octets; returns its length.  Foreign
 * text (helo, login, recipient) is reduced to what RFC 5322 allows in its place; never CR, LF or
 * NUL. */
size_t trace_received(const struct trace_info *info, char out[TRACE_MAX]);

#endif
