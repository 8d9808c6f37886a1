/* SPDX-License-Identifier: ISC */
/* The front of what decides takes; see quota.h. */
#include "auth/quota.h"

#include "auth/charge.h"
#include "auth/grace.h"
#include "auth/grants.h"
#include "auth/lease.h"

#include <stdlib.h>
#include <string.h>

struct quota {
	struct quota_settings settings;
	uint64_t seq; /* of the calls of this node */
	struct take_batch *takes;
	struct return_batch *returns;
	struct leases *leases;
	struct grace *grace;
	struct grants *grants;
	uint64_t now_ms; /* of the last call */
};

/* By which grants.h knows them. */
static uint64_t key_of_take(uint64_t token, size_t which)
{
	return token * TAKE_GRANTS + which;
}

static uint64_t key_of_lease(uint64_t number)
{
	return number | UINT64_C(1) << 63;
}

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

static void remember(
	struct quota *quota, const struct take_wanted *wanted, const struct take_grant *grant)
{
	const struct charge charge = {
		.seq = grant->seq,
		.account = wanted->account,
		.credential = wanted->credential,
		.domain = wanted->domain,
		.receipt = grant->receipt,
		.messages = grant->messages,
		.recipients = grant->recipients,
		.bytes = grant->bytes,
	};

	grants_put(quota->grants, key_of_take(wanted->token, wanted->messages == 0 ? 1 : 0),
		&charge, quota->now_ms);
}

/* lease: what was granted belongs to it; 0: it was granted alone. */
static void tell_decided(struct quota *quota, const struct take_wanted *wanted,
	const struct query_quota_row *row, uint64_t seq, uint64_t lease)
{
	struct quota_result result = {.answer = answer_of(row), .wanted = wanted, .row = row};

	if (result.answer == QUOTA_GRANTED) {
		result.grant = grant_of(wanted);
		result.grant.lease = lease;
		result.grant.seq = seq;
		result.grant.receipt_len = row->receipt_len;
		memcpy(result.grant.receipt, row->receipt, sizeof result.grant.receipt);
		if (lease == 0)
			remember(quota, wanted, &result.grant);
	}
	quota->settings.taken(&result, quota->settings.arg);
}

static void tell_undecided(struct quota *quota, const struct take_wanted *wanted, bool away)
{
	struct quota_result result = {.answer = QUOTA_UNAVAILABLE, .wanted = wanted};
	uint64_t number = away ? grace_take(quota->grace, wanted) : 0;

	if (number != 0) {
		result.answer = QUOTA_GRANTED;
		result.grant = grant_of(wanted);
		result.grant.grace = number;
	}
	quota->settings.taken(&result, quota->settings.arg);
}

static void on_taken(enum take_end end, const struct take_wanted *wanted,
	const struct query_quota_row *row, uint64_t seq, void *arg)
{
	if (end == TAKE_DECIDED)
		tell_decided(arg, wanted, row, seq, 0);
	else
		tell_undecided(arg, wanted, end == TAKE_AWAY);
}

/* What was never sent is asked for like any other take. */
static void on_leased(enum take_end end, const struct take_wanted *wanted,
	const struct query_quota_row *row, uint64_t seq, uint64_t lease, void *arg)
{
	struct quota *quota = arg;

	if (end == TAKE_DECIDED)
		tell_decided(quota, wanted, row, seq, lease);
	else if (end == TAKE_FAILED || !take_batch_add(quota->takes, wanted, quota->now_ms))
		tell_undecided(quota, wanted, false);
}

static void on_lease_granted(const struct lease_change *lease, void *arg)
{
	struct quota *quota = arg;
	const struct charge charge = {
		.seq = lease->seq,
		.account = lease->account,
		.credential = lease->credential,
		.domain = lease->domain,
		.receipt = lease->receipt,
		.messages = lease->messages,
		.recipients = lease->recipients,
		.bytes = lease->bytes,
	};

	grants_put(quota->grants, key_of_lease(lease->number), &charge, quota->now_ms);
}

static void on_lease_unspent(const struct lease_change *lease, void *arg)
{
	struct quota *quota = arg;

	grants_less(quota->grants, key_of_lease(lease->number), lease->messages, lease->recipients,
		lease->bytes);
}

static void on_lease_returned(uint64_t account, uint64_t credential, void *arg)
{
	struct quota *quota = arg;

	quota->settings.freed(account, credential, quota->settings.arg);
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
static bool open_calls(struct quota *quota)
{
	const struct quota_settings *settings = &quota->settings;
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
	return quota->takes != NULL && quota->returns != NULL;
}

static bool open_leases(struct quota *quota)
{
	struct lease_settings leases = {
		.node = quota->settings.node,
		.seq = &quota->seq,
		.wake = wake,
		.done = on_leased,
		.granted = on_lease_granted,
		.unspent = on_lease_unspent,
		.returned = on_lease_returned,
		.arg = quota,
	};

	memcpy(leases.lanes, quota->settings.lanes, sizeof leases.lanes);
	quota->leases = leases_new(&leases);
	return quota->leases != NULL;
}

struct quota *quota_new(const struct quota_settings *settings)
{
	struct quota *quota = calloc(1, sizeof *quota);

	if (quota == NULL)
		return NULL;
	quota->settings = *settings;
	quota->seq = settings->seq;
	quota->grace = grace_new(settings->lanes, settings->node, &quota->seq, wake, quota);
	quota->grants = grants_new(settings->lanes, settings->node, wake, quota);
	if (!open_calls(quota) || !open_leases(quota) || quota->grace == NULL ||
		quota->grants == NULL)
		quota_destroy(&quota);
	return quota;
}

void quota_destroy(struct quota **quota)
{
	if (*quota == NULL)
		return;
	take_batch_destroy(&(*quota)->takes);
	return_batch_destroy(&(*quota)->returns);
	leases_destroy(&(*quota)->leases);
	grace_destroy(&(*quota)->grace);
	grants_destroy(&(*quota)->grants);
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
	struct quota_result result = {.answer = QUOTA_GRANTED, .wanted = wanted};

	if (!is_sane(wanted))
		return false;
	quota->now_ms = now_ms;
	switch (leases_take(quota->leases, wanted, now_ms, &result.grant)) {
	case LEASE_NONE:
		return take_batch_add(quota->takes, wanted, now_ms);
	case LEASE_SPENT:
		quota->settings.taken(&result, quota->settings.arg);
		return true;
	case LEASE_ASKED:
		return true;
	}
	return false;
}

/* --------------------------------------------------------------- give-backs */
/* Leaves to the database what only it can give back. */
static void give_back_here(struct quota *quota, struct take_grant *grant, uint64_t now_ms)
{
	if (grant->grace != 0)
		grace_drop(quota->grace, grant->grace);
	else if (grant->lease == 0 || !leases_put_back(quota->leases, grant, now_ms))
		return;
	*grant = (struct take_grant){0};
}

enum transaction_start quota_give_back(struct quota *quota, struct take *take, uint64_t now_ms)
{
	bool receipts = false;

	quota->now_ms = now_ms;
	for (size_t i = 0; i < TAKE_GRANTS; i++) {
		give_back_here(quota, &take->grants[i], now_ms);
		receipts = receipts || take->grants[i].receipt_len > 0;
	}
	if (!receipts)
		return TRANSACTION_AT_ONCE;
	return return_batch_add(quota->returns, take) ? TRANSACTION_STARTED : TRANSACTION_NOT_NOW;
}

void quota_returned_one(struct quota *quota, const struct take *take)
{
	for (size_t i = 0; i < TAKE_GRANTS; i++) {
		const struct take_grant *grant = &take->grants[i];
		grants_less(quota->grants,
			grant->lease != 0 ? key_of_lease(grant->lease)
					  : key_of_take(take->token, i),
			grant->messages, grant->recipients, grant->bytes);
	}
}

void quota_keep(struct quota *quota, const struct take *take)
{
	for (size_t i = 0; i < TAKE_GRANTS; i++) {
		if (take->grants[i].grace != 0)
			grace_keep(quota->grace, take->grants[i].grace);
	}
}

/* ------------------------------------------------------------------ changes */
void quota_lane(struct quota *quota, size_t lane, bool ready)
{
	take_batch_lane(quota->takes, lane, ready);
}

void quota_trust(struct quota *quota, bool trusted)
{
	leases_trust(quota->leases, trusted);
}

void quota_changed(struct quota *quota, uint64_t account, uint64_t now_ms)
{
	quota->now_ms = now_ms;
	leases_end(quota->leases, account, now_ms);
}

void quota_changed_all(struct quota *quota, uint64_t now_ms)
{
	quota->now_ms = now_ms;
	leases_end_all(quota->leases, now_ms);
}

void quota_epoch(struct quota *quota, uint64_t now_ms)
{
	quota_changed_all(quota, now_ms);
	grants_reassert(quota->grants);
}

void quota_tick(struct quota *quota, uint64_t now_ms)
{
	quota->now_ms = now_ms;
	take_batch_tick(quota->takes, now_ms);
	return_batch_tick(quota->returns);
	leases_tick(quota->leases, now_ms);
	grace_tick(quota->grace, now_ms);
	grants_tick(quota->grants, now_ms);
}

bool quota_idle(const struct quota *quota)
{
	return take_batch_idle(quota->takes) && return_batch_idle(quota->returns) &&
	       leases_idle(quota->leases) && grace_idle(quota->grace) && grants_idle(quota->grants);
}
