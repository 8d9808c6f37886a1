/* SPDX-License-Identifier: ISC */
/*
 * The header stage: the first octet is the policy, the second how the message is cut, the rest the
 * message, which passes body.c first unless it comes by BDAT.  However it is cut, the same must
 * come out; and what is accepted must have one From, of an address that the account owns, in the
 * eyes of a naive reader, and the body that came in.  The account owns example.org.
 */
#include "proxy/body.h"
#include "proxy/header.h"

#include "tests/unit/header_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

/* Octet by octet is a block an octet: the usual quarantine of freed blocks is not for that. */
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=32";
}

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

#define SENDER "alice@example.org"

static bool owned(const char *address, size_t len)
{
	const char *sign = memrchr(address, '@', len);
	size_t domain;

	must(sign != NULL);
	for (sign++; *sign == ' ' || *sign == '\t' || *sign == '\r' || *sign == '\n';)
		sign++;
	domain = len - (size_t)(sign - address);
	return from_same(sign, domain, "example.org", strlen("example.org"));
}

static enum header_status answer(
	struct header *header, enum header_status status, struct evbuffer *out)
{
	while (status == HEADER_ASK) {
		size_t len;
		const char *address = header_question(header, &len);

		status = header_answer(header, owned(address, len), out);
	}
	return status;
}

static enum header_status feed(struct header *header, const char *bytes, size_t len,
	enum header_status status, struct evbuffer *out)
{
	char *copy = malloc(len);
	size_t at = 0, consumed;

	must(copy != NULL);
	memcpy(copy, bytes, len);
	while (status == HEADER_MORE && at < len) {
		status = header_feed(header, copy + at, len - at, &consumed, out);
		at += consumed;
		must(at <= len && (status != HEADER_MORE || at == len));
		status = answer(header, status, out);
	}
	if (status == HEADER_BODY)
		must(evbuffer_add(out, copy + at, len - at) == 0);
	free(copy);
	return status;
}

static enum header_status run(struct header *header, const struct header_policy *policy,
	const char *bytes, size_t len, size_t piece, struct evbuffer *out)
{
	enum header_status status = HEADER_MORE;

	header_init(header, policy);
	for (size_t at = 0; at < len; at += piece)
		status = feed(header, bytes + at, len - at < piece ? len - at : piece, status, out);
	for (unsigned i = 0; i < 3 && status == HEADER_MORE; i++)
		status = answer(header, header_end(header, out), out);
	must(status == HEADER_BODY || status == HEADER_REFUSED);
	must(header->text == NULL && header->list == NULL);
	return status;
}

static void check_output(const struct header_policy *policy, const char *in, size_t in_len,
	const char *out, size_t out_len)
{
	struct reader before = reader_read(in, in_len, policy->stuffed);
	struct reader after = reader_read(out, out_len, policy->stuffed);
	size_t body = out_len - after.body;
	bool strict = policy->mode == HEADER_REJECT || policy->mode == HEADER_REWRITE;

	must(after.stripped == 0);
	if (strict) {
		must(after.froms == 1 && after.addresses > 0 && !after.more);
		must(!after.bad_lines && !after.bad_stuffing);
		must(body == in_len - before.body);
		for (unsigned i = 0; i < after.addresses; i++)
			must(owned(after.address[i], strlen(after.address[i])));
	}
	/* What comes by BDAT and is not refused may have other line ends than the reader's. */
	must(body <= in_len || !(strict || policy->stuffed));
	must(!(strict || policy->stuffed) || body == 0 ||
		memcmp(out + after.body, in + in_len - body, body) == 0);
	reader_free(&before);
	reader_free(&after);
}

static void check(const struct header_policy *policy, const char *in, size_t len, size_t piece)
{
	const size_t pieces[] = {len == 0 ? 1 : len, piece, 1};
	struct evbuffer *out[3];
	struct header header[3];
	enum header_status status[3];

	for (unsigned i = 0; i < 3; i++) {
		out[i] = evbuffer_new();
		must(out[i] != NULL);
		status[i] = run(&header[i], policy, in, len, pieces[i], out[i]);
		must(status[i] == status[0]);
		must(header_found(&header[i])->reason == header_found(&header[0])->reason);
		must(header_found(&header[i])->why == header_found(&header[0])->why);
		must((status[i] == HEADER_REFUSED) <=
			(policy->mode == HEADER_REJECT || policy->mode == HEADER_REWRITE));
	}
	if (status[0] == HEADER_BODY) {
		size_t out_len = evbuffer_get_length(out[0]);
		const char *bytes = (const char *)evbuffer_pullup(out[0], -1);

		for (unsigned i = 1; i < 3; i++) {
			must(evbuffer_get_length(out[i]) == out_len);
			must(out_len == 0 ||
				memcmp(evbuffer_pullup(out[i], -1), bytes, out_len) == 0);
		}
		check_output(policy, in, len, bytes == NULL ? "" : bytes, out_len);
	}
	for (unsigned i = 0; i < 3; i++)
		evbuffer_free(out[i]);
}

/* As the session gives it: what body.c writes of it. */
static void check_data(struct header_policy *policy, const char *bytes, size_t len, size_t piece)
{
	struct evbuffer *written = evbuffer_new();
	struct body body;
	size_t consumed;

	must(written != NULL);
	body_init(&body, BODY_DATA);
	if (body_feed(&body, bytes, len, &consumed, written) == BODY_MORE)
		(void)body_feed(&body, "\r\n.\r\n", 5, &consumed, written);
	len = evbuffer_get_length(written);
	check(policy, len == 0 ? "" : (const char *)evbuffer_pullup(written, -1), len, piece);
	evbuffer_free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const strip[] = {"X-Strip-*"};
	struct header_policy policy = {
		.sender = SENDER,
		.strip = strip,
		.hostname = "submit.example.net",
		.transaction = "0123456789ab",
		.wall_ms = 1795572865123,
	};

	if (size < 2)
		return 0;
	policy.mode = (enum header_mode)(data[0] & 3);
	policy.stuffed = (data[0] & 4) == 0;
	policy.utf8 = (data[0] & 8) != 0;
	policy.sender_len = (data[0] & 16) != 0 ? 0 : strlen(SENDER);
	policy.strip_count = policy.drop_received = (data[0] & 32) != 0;
	policy.add_date = policy.add_message_id = (data[0] & 64) != 0;
	if (policy.stuffed)
		check_data(&policy, (const char *)data + 2, size - 2, data[1] + 1u);
	else
		check(&policy, (const char *)data + 2, size - 2, data[1] + 1u);
	return 0;
}
