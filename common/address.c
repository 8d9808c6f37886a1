/* SPDX-License-Identifier: ISC */
/* Numeric addresses; see address.h. */
#include "common/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* "1".."65535" with nothing around it; -1 otherwise. */
static int parse_port(const char *text)
{
	int port = 0;

	if (*text < '1' || *text > '9')
		return -1;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		port = port * 10 + (*text - '0');
		if (port > 65535)
			return -1;
	}
	return port;
}

static bool parse_host(const char *host, uint16_t port, struct address *out)
{
	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = htons(port);
		out->len = sizeof out->v4;
		return true;
	}
	if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1) {
		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = htons(port);
		out->len = sizeof out->v6;
		return true;
	}
	return false;
}

bool address_parse(const char *text, int default_port, struct address *out)
{
	char host[ADDRESS_TEXT_MAX];
	const char *end, *port_text = NULL;
	bool bracket = *text == '[';

	memset(out, 0, sizeof *out);
	if (bracket) {
		end = strchr(++text, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		if (end[1] == ':')
			port_text = end + 2;
	} else {
		end = strchr(text, ':');
		if (end != NULL && strchr(end + 1, ':') != NULL)
			end = NULL; /* a bare IPv6 address: no port */
		if (end != NULL)
			port_text = end + 1;
		else
			end = text + strlen(text);
	}
	if ((size_t)(end - text) >= sizeof host)
		return false;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	int port = port_text != NULL ? parse_port(port_text) : default_port;
	if (port < 0 || port > 65535 || !parse_host(host, (uint16_t)port, out))
		return false;
	/* Brackets are for IPv6, and needed there when a port follows. */
	if (out->sa.sa_family == AF_INET6)
		return bracket || port_text == NULL;
	return !bracket;
}

bool address_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct address *out)
{
	memset(out, 0, sizeof *out);
	if (sa->sa_family == AF_INET && len >= sizeof out->v4) {
		memcpy(&out->v4, sa, sizeof out->v4);
		out->len = sizeof out->v4;
		return true;
	}
	if (sa->sa_family != AF_INET6 || len < sizeof out->v6)
		return false;
	memcpy(&out->v6, sa, sizeof out->v6);
	out->len = sizeof out->v6;
	if (IN6_IS_ADDR_V4MAPPED(&out->v6.sin6_addr)) {
		struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = out->v6.sin6_port};
		memcpy(&v4.sin_addr, &out->v6.sin6_addr.s6_addr[12], 4);
		memset(out, 0, sizeof *out);
		out->v4 = v4;
		out->len = sizeof out->v4;
	}
	return true;
}

const char *address_format_host(const struct address *address, char text[ADDRESS_TEXT_MAX])
{
	text[0] = '\0';
	if (address->len == 0)
		return text;
	if (address->sa.sa_family == AF_INET)
		inet_ntop(AF_INET, &address->v4.sin_addr, text, ADDRESS_TEXT_MAX);
	else
		inet_ntop(AF_INET6, &address->v6.sin6_addr, text, ADDRESS_TEXT_MAX);
	return text;
}

const char *address_format(const struct address *address, char text[ADDRESS_TEXT_MAX])
{
	char host[ADDRESS_TEXT_MAX];
	bool v6 = address->len != 0 && address->sa.sa_family == AF_INET6;

	text[0] = '\0';
	if (address->len == 0)
		return text;
	address_format_host(address, host);
	snprintf(text, ADDRESS_TEXT_MAX, "%s%.45s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "",
		address_port(address));
	return text;
}

uint16_t address_port(const struct address *address)
{
	if (address->len == 0)
		return 0;
	return ntohs(
		address->sa.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

bool address_equal(const struct address *a, const struct address *b)
{
	if (a->len != b->len || a->len == 0)
		return a->len == b->len;
	struct address_key ka = address_prefix(a, 32, 128), kb = address_prefix(b, 32, 128);
	return a->sa.sa_family == b->sa.sa_family && address_port(a) == address_port(b) &&
	       memcmp(&ka, &kb, sizeof ka) == 0;
}

bool address_is_loopback(const struct address *address)
{
	if (address->len == 0)
		return false;
	if (address->sa.sa_family == AF_INET)
		return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

struct address_key address_prefix(const struct address *address, unsigned v4_bits, unsigned v6_bits)
{
	struct address_key key = {{0}};
	unsigned keep = v6_bits;

	if (address->len == 0)
		return key;
	if (address->sa.sa_family == AF_INET) {
		key.bytes[10] = key.bytes[11] = 0xff;
		memcpy(key.bytes + 12, &address->v4.sin_addr, 4);
		keep = 96 + v4_bits;
	} else {
		memcpy(key.bytes, &address->v6.sin6_addr, sizeof key.bytes);
	}
	for (unsigned bit = keep; bit < 128; bit++)
		key.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
	return key;
}
