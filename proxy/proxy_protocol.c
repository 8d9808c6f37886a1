/* SPDX-License-Identifier: ISC */
/*
 * Headers of the PROXY protocol; see proxy_protocol.h.  The numbers in comments are sections of
 * haproxy's doc/proxy-protocol.txt.
 *
 * Strict: what the specification calls invalid ends the connection, for whoever sends it is no
 * balancer.  The destination is checked and not kept.  Of what may follow a version 2 address (the
 * TLVs of 2.2) the bounds are checked, and a checksum where there is one; nothing of them is used.
 */
#include "proxy/proxy_protocol.h"

#include "common/crc32c.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

enum {
	V2_COMMAND_AT = 12,
	V2_FAMILY_AT = 13,
	V2_LENGTH_AT = 14,
	V2_BYTES = 16, /* in front of the addresses */

	V2_LOCAL = 0x20, /* version 2 in the upper half */
	V2_PROXY = 0x21,

	TLV_BYTES = 3, /* type, length */
	TLV_CRC32C = 0x03,
	CRC_BYTES = 4,
};

static const uint8_t v1_signature[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint8_t v2_signature[V2_COMMAND_AT] = {
	'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

/* Whether bytes begin with signature, as far as both go. */
static bool begins(const uint8_t *bytes, size_t len, const uint8_t *signature, size_t signature_len)
{
	return memcmp(bytes, signature, len < signature_len ? len : signature_len) == 0;
}

static enum proxy_status bad(struct proxy_header *out, const char *problem)
{
	memset(out, 0, sizeof *out);
	out->problem = problem;
	return PROXY_BAD;
}

/* ------------------------------------------------------------------- version 1 */

/* 2.1: decimal, 0 to 65535, no leading zero. */
static bool parse_port(const char *text, in_port_t *out)
{
	unsigned port = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 5 || text[digits] != '\0' || (digits > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < digits; i++)
		port = port * 10 + (unsigned)(text[i] - '0');
	*out = htons((uint16_t)port);
	return port <= 65535;
}

static bool parse_endpoint(bool v6, const char *host, const char *port, struct address *out)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (v6)
		return inet_pton(AF_INET6, host, &in6.sin6_addr) == 1 &&
		       parse_port(port, &in6.sin6_port) &&
		       address_from_sockaddr((struct sockaddr *)&in6, sizeof in6, out);
	return inet_pton(AF_INET, host, &in4.sin_addr) == 1 && parse_port(port, &in4.sin_port) &&
	       address_from_sockaddr((struct sockaddr *)&in4, sizeof in4, out);
}

/* Cuts text at its single spaces.  False unless there are exactly count fields, none empty. */
static bool split(char *text, char **fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *space = strchr(text, ' ');
		fields[i] = text;
		if (*text == '\0' || *text == ' ' || (space != NULL) != (i + 1 < count))
			return false;
		if (space != NULL) {
			*space = '\0';
			text = space + 1;
		}
	}
	return true;
}

/* The line behind "PROXY ", without its CRLF. */
static enum proxy_status read_v1(const uint8_t *line, size_t len, struct proxy_header *out)
{
	static const char unknown[] = "UNKNOWN";
	char text[PROXY_V1_MAX], *fields[5];
	struct address destination;

	/* 2.1: whatever stands behind UNKNOWN is ignored. */
	if (len >= strlen(unknown) && memcmp(line, unknown, strlen(unknown)) == 0 &&
		(len == strlen(unknown) || line[strlen(unknown)] == ' '))
		return PROXY_DONE;
	memcpy(text, line, len);
	text[len] = '\0';
	if (memchr(text, '\0', len) != NULL || !split(text, fields, 5))
		return bad(out, "not the five fields of version 1");
	bool v6 = strcmp(fields[0], "TCP6") == 0;
	if (!v6 && strcmp(fields[0], "TCP4") != 0)
		return bad(out, "a protocol that version 1 does not know");
	if (!parse_endpoint(v6, fields[1], fields[3], &out->client) ||
		!parse_endpoint(v6, fields[2], fields[4], &destination))
		return bad(out, "no address, or no port");
	return PROXY_DONE;
}

/* The index of the first CR or LF; len: none. */
static size_t find_line_end(const uint8_t *bytes, size_t len)
{
	size_t at = 0;

	while (at < len && bytes[at] != '\r' && bytes[at] != '\n')
		at++;
	return at;
}

static enum proxy_status parse_v1(const uint8_t *bytes, size_t len, struct proxy_header *out)
{
	size_t window = len < PROXY_V1_MAX ? len : PROXY_V1_MAX;
	size_t end = find_line_end(bytes, window);

	/* 2.1: a CRLF within the first 107 octets, and none of its halves before. */
	if (end < window && bytes[end] == '\n')
		return bad(out, "a bare CR or LF");
	if (end + 1 >= window)
		return window < PROXY_V1_MAX ? PROXY_MORE : bad(out, "no end of its line");
	if (bytes[end + 1] != '\n')
		return bad(out, "a bare CR or LF");
	out->len = end + 2;
	return read_v1(bytes + sizeof v1_signature, end - sizeof v1_signature, out);
}

/* ------------------------------------------------------------------- version 2 */

static size_t get_16(const uint8_t *bytes)
{
	return (size_t)bytes[0] << 8 | bytes[1];
}

/* 2.2: all that an address family and a transport may be, and how long both addresses are. */
static const struct family {
	uint8_t code;
	uint8_t addresses_len;
	sa_family_t sa_family; /* AF_UNSPEC: the real peer counts */
} families[] = {
	{0x00, 0, AF_UNSPEC},   /* unspecified */
	{0x11, 12, AF_INET},    /* TCP over IPv4 */
	{0x12, 12, AF_UNSPEC},  /* UDP over IPv4 */
	{0x21, 36, AF_INET6},   /* TCP over IPv6 */
	{0x22, 36, AF_UNSPEC},  /* UDP over IPv6 */
	{0x31, 216, AF_UNSPEC}, /* UNIX, stream */
	{0x32, 216, AF_UNSPEC}, /* UNIX, datagrams */
};

static const struct family *find_family(uint8_t code)
{
	for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
		if (families[i].code == code)
			return &families[i];
	}
	return NULL;
}

/* The checksum is of the whole header, with zeros where it stands itself. */
static bool crc_matches(const uint8_t *header, size_t len, size_t checksum_at)
{
	static const uint8_t zeros[CRC_BYTES];
	size_t behind = checksum_at + CRC_BYTES;
	uint32_t want = (uint32_t)get_16(header + checksum_at) << 16 |
			(uint32_t)get_16(header + checksum_at + 2);
	uint32_t crc = crc32c(0, header, checksum_at);

	crc = crc32c(crc, zeros, sizeof zeros);
	return crc32c(crc, header + behind, len - behind) == want;
}

/* What follows the addresses, to the end of the header.  Returns what is wrong, or NULL. */
static const char *check_tlvs(const uint8_t *header, size_t at, size_t len)
{
	bool checked = false;

	while (at < len) {
		if (len - at < TLV_BYTES)
			return "half a TLV";
		uint8_t type = header[at];
		size_t value_len = get_16(header + at + 1);
		at += TLV_BYTES;
		if (value_len > len - at)
			return "a TLV beyond the header's end";
		if (type == TLV_CRC32C) {
			/* 2.2.4: who can check it has to.  Once: a header has one checksum. */
			if (checked || value_len != CRC_BYTES || !crc_matches(header, len, at))
				return "a wrong checksum";
			checked = true;
		}
		at += value_len;
	}
	return NULL;
}

/* Source, destination, source port, destination port. */
static bool read_client(const uint8_t *bytes, sa_family_t sa_family, struct address *out)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (sa_family == AF_INET) {
		memcpy(&in4.sin_addr, bytes, 4);
		memcpy(&in4.sin_port, bytes + 8, 2);
		return address_from_sockaddr((struct sockaddr *)&in4, sizeof in4, out);
	}
	memcpy(&in6.sin6_addr, bytes, 16);
	memcpy(&in6.sin6_port, bytes + 32, 2);
	return address_from_sockaddr((struct sockaddr *)&in6, sizeof in6, out);
}

/* A whole header of the command PROXY. */
static enum proxy_status read_v2(
	const uint8_t *bytes, const struct family *family, struct proxy_header *out)
{
	const char *problem = NULL;

	/* How long the addresses of an unspecified family are nobody knows (2.2): all is skipped.
	 */
	if (family->addresses_len > 0)
		problem = check_tlvs(bytes, V2_BYTES + family->addresses_len, out->len);
	if (problem != NULL)
		return bad(out, problem);
	if (family->sa_family != AF_UNSPEC &&
		!read_client(bytes + V2_BYTES, family->sa_family, &out->client))
		return bad(out, "no address");
	return PROXY_DONE;
}

/* Each octet is judged as soon as it is there. */
static enum proxy_status parse_v2(const uint8_t *bytes, size_t len, struct proxy_header *out)
{
	const struct family *family = NULL;

	if (len <= V2_COMMAND_AT)
		return PROXY_MORE;
	if (bytes[V2_COMMAND_AT] != V2_LOCAL && bytes[V2_COMMAND_AT] != V2_PROXY)
		return bad(out, "a version or command that does not exist");
	if (len <= V2_FAMILY_AT)
		return PROXY_MORE;
	/* 2.2: a LOCAL header's family and addresses mean nothing. */
	if (bytes[V2_COMMAND_AT] == V2_PROXY) {
		family = find_family(bytes[V2_FAMILY_AT]);
		if (family == NULL)
			return bad(out, "a family or transport that does not exist");
	}
	if (len < V2_BYTES)
		return PROXY_MORE;
	size_t whole = V2_BYTES + get_16(bytes + V2_LENGTH_AT);
	if (whole > PROXY_HEADER_MAX)
		return bad(out, "too long");
	if (family != NULL && whole < V2_BYTES + (size_t)family->addresses_len)
		return bad(out, "too short for its addresses");
	if (len < whole)
		return PROXY_MORE;
	out->len = whole;
	return family != NULL ? read_v2(bytes, family, out) : PROXY_DONE;
}

enum proxy_status proxy_protocol_parse(const uint8_t *bytes, size_t len, struct proxy_header *out)
{
	memset(out, 0, sizeof *out);
	if (len == 0)
		return PROXY_MORE;
	if (begins(bytes, len, v2_signature, sizeof v2_signature))
		return parse_v2(bytes, len, out);
	if (!begins(bytes, len, v1_signature, sizeof v1_signature))
		return bad(out, "no header");
	return len < sizeof v1_signature ? PROXY_MORE : parse_v1(bytes, len, out);
}
