/* SPDX-License-Identifier: ISC */
/*
 * Network addresses with a port: parse, print, compare, cut to a prefix.  Numeric only: nothing
 * here ever resolves a name.  Pure; any process.
 */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { ADDRESS_TEXT_MAX = 64 }; /* "[ipv6%]:port" and its NUL */

struct address {
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
	socklen_t len; /* 0: no address */
};

/* An IPv6 form of any address (v4 as ::ffff:a.b.c.d): what frames and tables carry. */
struct address_key {
	uint8_t bytes[16];
};

/*
 * Parses "192.0.2.1:25", "[2001:db8::1]:25", or without a port when default_port >= 0.  Returns
 * false on anything else (names, zones, ports out of range, trailing bytes).
 */
bool address_parse(const char *text, int default_port, struct address *out)
	__attribute__((warn_unused_result));

/* From what accept() or getsockname() gave; v4-mapped IPv6 becomes IPv4.  Others: false. */
bool address_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct address *out)
	__attribute__((warn_unused_result));

/* "192.0.2.1:25" or "[2001:db8::1]:25"; returns text. */
const char *address_format(const struct address *address, char text[ADDRESS_TEXT_MAX]);

/* Without the port and the brackets; returns text. */
const char *address_format_host(const struct address *address, char text[ADDRESS_TEXT_MAX]);

uint16_t address_port(const struct address *address);
bool address_equal(const struct address *a, const struct address *b); /* with the port */
bool address_is_loopback(const struct address *address);

/* The key of the address cut to its first v4_bits or v6_bits bits (the rest is 0). */
struct address_key address_prefix(
	const struct address *address, unsigned v4_bits, unsigned v6_bits);

#endif
