/* SPDX-License-Identifier: ISC */
/* The front of what decides takes; see quota.h. */
#include "auth/quota.h"

#include <stdlib.h>
#include <string.h>

struct quota {
	struct quota_settings settings;
	uint64_t seq; /* of the calls of this node */
	struct take_batch *takes;
	struct return_batch *returns;
};

/* ------------------------------------------------------------------ answers */
static enum quota_answer answer_of(const struct query_quota_row *row)
{
	switch (row->result) {
	case QUERY_QUOTA_GRANTED:
		return QUOTA_GRANTED;
	case QUERY_QUOTA_REFUSED:
		return QUOTA_REFUSED;
	case QUERY_QUOTA_NEVER:
		return QUOTA_NEVER;
	case QUERY_QUOTA_REVOKED:
		return QUOTA_REVOKED;
	case QUERY_QUOTA_REJECTED:
		return QUOTA_REJECTED;
	}
	return QUOTA_UNAVAILABLE;
}

static struct take_grant grant_of(const struct take_wanted *wanted)
{
	return (struct take_grant){
		.messages = wanted->messages,
		.recipients = wanted->recipients,
		.bytes = wanted->bytes,
	};
}

static void on_taken(enum take_end end, const struct take_wanted *wanted,
	const struct query_quota_row *row, uint64_t seq, void *arg)
{
	struct quota *quota = arg;
	struct quota_result result = {.answer = QUOTA_UNAVAILABLE, .wanted = wanted, .row = row};

	if (end == TAKE_DECIDED)
		result.answer = answer_of(row);
	if (result.answer == QUOTA_GRANTED) {
		result.grant = grant_of(wanted);
		result.grant.seq = seq;
		result.grant.receipt_len = row->receipt_len;
		memcpy(result.grant.receipt, row->receipt, sizeof result.grant.receipt);
	}
	quota->settings.taken(&result, quota->settings.arg);
}

static void on_returned(enum transaction_returned returned, void *arg, uint64_t token)
{
	struct quota *quota = arg;

	quota->settings.returned(returned, quota->settings.arg, token);
}

static void wake(uint64_t in_ms, void *arg)
{
	struct quota *quota = arg;

	quota->settings.wake(in_ms, quota->settings.arg);
}

/* ----------------------------------------------------------------- lifetime */
struct quota *quota_new(const struct quota_settings *settings)
{
	struct quota *quota = calloc(1, sizeof *quota);

	if (quota == NULL)
		return NULL;
	quota->settings = *settings;
	quota->seq = settings->seq;
	struct take_batch_settings takes = {
		.node = settings->node,
		.seq = &quota->seq,
		.wake = wake,
		.done = on_taken,
		.arg = quota,
	};
	struct return_batch_settings returns = {.wake = wake, .done = on_returned, .arg = quota};
	memcpy(takes.lanes, settings->lanes, sizeof takes.lanes);
	memcpy(returns.lanes, settings->lanes, sizeof returns.lanes);
	quota->takes = take_batch_new(&takes);
	quota->returns = return_batch_new(&returns);
	if (quota->takes == NULL || quota->returns == NULL)
		quota_destroy(&quota);
	return quota;
}

void quota_destroy(struct quota **quota)
{
	if (*quota == NULL)
		return;
	take_batch_destroy(&(*quota)->takes);
	return_batch_destroy(&(*quota)->returns);
	free(*quota);
	*quota = NULL;
}

/* -------------------------------------------------------------------- takes */
static bool is_sane(const struct take_wanted *wanted)
{
	if (wanted->bytes > QUOTA_BYTES_MAX)
		return false;
	if (wanted->messages == 0)
		return wanted->recipients == 0 && wanted->bytes > 0;
	return wanted->messages <= QUOTA_MESSAGES_MAX && wanted->recipients > 0 &&
	       wanted->recipients <= QUOTA_RECIPIENTS_MAX;
}

bool quota_take(struct quota *quota, const struct take_wanted *wanted, uint64_t now_ms)
{
	return is_sane(wanted) && take_batch_add(quota->takes, wanted, now_ms);
}

enum transaction_start quota_give_back(struct quota *quota, struct take *take)
{
	bool receipts = false;

	for (size_t i = 0; i < TAKE_GRANTS; i++)
		receipts = receipts || take->grants[i].receipt_len > 0;
	if (!receipts)
		return TRANSACTION_AT_ONCE;
	return return_batch_add(quota->returns, take) ? TRANSACTION_STARTED : TRANSACTION_NOT_NOW;
}

void quota_lane(struct quota *quota, size_t lane, bool ready)
{
	take_batch_lane(quota->takes, lane, ready);
}

void quota_tick(struct quota *quota, uint64_t now_ms)
{
	take_batch_tick(quota->takes, now_ms);
	return_batch_tick(quota->returns);
}

bool quota_idle(const struct quota *quota)
{
	return take_batch_idle(quota->takes) && return_batch_idle(quota->returns);
}
