/* SPDX-License-Identifier: ISC */
/*
 * The PROXY protocol, versions 1 and 2 (haproxy's "The PROXY protocol", doc/proxy-protocol.txt):
 * the header by which a load balancer tells whose connection it passes on.  Pure: no socket, no
 * allocation; whom to believe is the caller's to know.
 */
#ifndef PROXY_PROXY_PROTOCOL_H
#define PROXY_PROXY_PROTOCOL_H

#include "common/address.h"

#include <stddef.h>
#include <stdint.h>

enum {
	PROXY_V1_MAX = 107, /* octets of a line, its CRLF included (2.1) */
	/* Of any header.  2.2 wants 536 to be taken; what balancers add about TLS is longer. */
	PROXY_HEADER_MAX = 4096,
};

enum proxy_status {
	PROXY_MORE, /* so far it is the beginning of a header */
	PROXY_DONE,
	PROXY_BAD, /* and nothing that may follow makes it one */
};

struct proxy_header {
	size_t len; /* octets of it, in PROXY_DONE: what follows is the client's */
	/*
	 * The client, IPv4-mapped addresses as IPv4.  len 0: the header tells none, the connection
	 * is the balancer's own (LOCAL, as its health checks are) or of a kind that has no address
	 * here (UNKNOWN, UNSPEC, UNIX, datagrams): the real peer counts (2.1, 2.2).
	 */
	struct address client;
	const char *problem; /* in PROXY_BAD, for the log; else NULL */
};

/*
 * Reads a header from its first octet on.  bytes are all that came so far: of a header in pieces
 * the earlier ones come again, and what follows a whole one changes nothing.  Never PROXY_MORE when
 * len is PROXY_HEADER_MAX or more.
 */
enum proxy_status proxy_protocol_parse(const uint8_t *bytes, size_t len, struct proxy_header *out)
	__attribute__((warn_unused_result));

#endif
