/* SPDX-License-Identifier: ISC */
/*
 * PROXY headers: however many of the octets are there, the verdict is the same once there is one;
 * a header stays within its bounds; and the client that it tells is told by the line of version 1
 * that says the same.
 */
#include "proxy/proxy_protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static enum proxy_status parse(const uint8_t *data, size_t len, struct proxy_header *out)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	must(copy != NULL);
	memcpy(copy, data, len);
	enum proxy_status status = proxy_protocol_parse(copy, len, out);
	free(copy);
	return status;
}

static void check_verdict(enum proxy_status status, const struct proxy_header *header, size_t size)
{
	switch (status) {
	case PROXY_DONE:
		must(header->len > 0 && header->len <= size && header->len <= PROXY_HEADER_MAX);
		must(header->problem == NULL);
		break;
	case PROXY_MORE:
		must(size < PROXY_HEADER_MAX && header->client.len == 0 && header->len == 0);
		must(header->problem == NULL);
		break;
	case PROXY_BAD:
		must(header->client.len == 0 && header->len == 0 && header->problem != NULL);
		break;
	}
}

/* What the first len octets say of what all of them do. */
static void check_beginning(
	const uint8_t *data, size_t len, enum proxy_status whole, const struct proxy_header *header)
{
	struct proxy_header part;
	enum proxy_status status = parse(data, len, &part);

	check_verdict(status, &part, len);
	if (status == PROXY_MORE)
		must(whole != PROXY_DONE || len < header->len);
	else
		must(status == whole && part.len == header->len);
}

static void check_client(const struct address *client)
{
	char line[PROXY_V1_MAX + 1], host[ADDRESS_TEXT_MAX];
	bool v4 = client->sa.sa_family == AF_INET;
	struct proxy_header again;

	must(v4 || !IN6_IS_ADDR_V4MAPPED(&client->v6.sin6_addr));
	address_format_host(client, host);
	int len = snprintf(line, sizeof line, "PROXY TCP%c %s %s %u 25\r\n", v4 ? '4' : '6', host,
		v4 ? "192.0.2.1" : "::1", address_port(client));
	must(len > 0 && len <= PROXY_V1_MAX);
	must(parse((uint8_t *)line, (size_t)len, &again) == PROXY_DONE);
	must(again.len == (size_t)len && address_equal(&again.client, client));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header header;
	enum proxy_status status = parse(data, size, &header);

	if (size > 2 * PROXY_HEADER_MAX)
		return 0;
	check_verdict(status, &header, size);
	for (size_t len = 0; len < size && len < 600; len++)
		check_beginning(data, len, status, &header);
	if (status == PROXY_DONE && header.client.len > 0)
		check_client(&header.client);
	return 0;
}
