/* SPDX-License-Identifier: ISC */
/* Grants without the database; see grace.h. */
#include "auth/grace.h"

#include "auth/charge.h"
#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct debtor { /* an account, and what of its the database does not know */
	uint64_t account, messages, recipients, bytes;
	size_t grants;
};

struct grant {
	TAILQ_ENTRY(grant) link;
	uint64_t number, seq; /* seq 0: its message is not decided */
	struct debtor *debtor;
	uint64_t credential, bytes;
	uint32_t messages, recipients;
	char domain[];
};

TAILQ_HEAD(grants, grant);

struct grace {
	struct take_lane lanes[TAKE_LANES];
	uint64_t node, *seq;
	void (*wake)(uint64_t in_ms, void *arg);
	void *arg;
	struct idmap *debtors; /* by account */
	struct idmap *open;    /* grants by number */
	struct grants due, sent;
	size_t count; /* of all grants */
	uint64_t last_number, paused_until_ms, now_ms;
	bool busy;
};

struct grace *grace_new(const struct take_lane *lanes, uint64_t node, uint64_t *seq,
	void (*wake)(uint64_t in_ms, void *arg), void *arg)
{
	struct grace *grace = calloc(1, sizeof *grace);

	if (grace == NULL)
		return NULL;
	for (size_t i = 0; i < TAKE_LANES; i++)
		grace->lanes[i] = lanes[i];
	grace->node = node;
	grace->seq = seq;
	grace->wake = wake;
	grace->arg = arg;
	TAILQ_INIT(&grace->due);
	TAILQ_INIT(&grace->sent);
	grace->debtors = idmap_new();
	grace->open = idmap_new();
	if (grace->debtors == NULL || grace->open == NULL)
		grace_destroy(&grace);
	return grace;
}

/* Forgets a grant that is on no list. */
static void free_grant(struct grace *grace, struct grant *grant)
{
	struct debtor *debtor = grant->debtor;

	debtor->messages -= grant->messages;
	debtor->recipients -= grant->recipients;
	debtor->bytes -= grant->bytes;
	if (--debtor->grants == 0) {
		idmap_take(grace->debtors, debtor->account);
		free(debtor);
	}
	grace->count--;
	free(grant);
}

static void free_all(struct grace *grace, struct grants *grants)
{
	while (!TAILQ_EMPTY(grants)) {
		struct grant *grant = TAILQ_FIRST(grants);
		TAILQ_REMOVE(grants, grant, link);
		free_grant(grace, grant);
	}
}

static void free_open(uint64_t number, void *value, void *arg)
{
	(void)number;
	free_grant(arg, value);
}

void grace_destroy(struct grace **pointer)
{
	struct grace *grace = *pointer;

	if (grace == NULL)
		return;
	*pointer = NULL;
	if (grace->count > 0)
		log_message(LOG_ERROR, "grace-lost",
			"%zu grants of an outage were never reported: they are not counted",
			grace->count);
	if (grace->open != NULL)
		idmap_each(grace->open, free_open, grace);
	free_all(grace, &grace->due);
	free_all(grace, &grace->sent);
	idmap_destroy(&grace->open);
	idmap_destroy(&grace->debtors);
	free(grace);
}

bool grace_idle(const struct grace *grace)
{
	return grace->count == 0;
}

/* ------------------------------------------------------------------- grants */
bool grace_declared(const struct account_meters *meters)
{
	return meters->grace_messages != 0 && meters->grace_recipients != 0 &&
	       meters->grace_bytes != 0 &&
	       (meters->grace_messages > 0 || meters->grace_recipients > 0 ||
		       meters->grace_bytes > 0);
}

static bool fits(uint64_t used, uint64_t more, int64_t grace)
{
	return grace == ACCOUNT_UNLIMITED ||
	       (used <= (uint64_t)grace && more <= (uint64_t)grace - used);
}

static bool has_room(const struct debtor *debtor, const struct take_wanted *wanted)
{
	static const struct debtor none;
	const struct account_meters *meters = &wanted->meters;

	if (debtor == NULL)
		debtor = &none;
	return grace_declared(meters) &&
	       fits(debtor->messages, wanted->messages, meters->grace_messages) &&
	       fits(debtor->recipients, wanted->recipients, meters->grace_recipients) &&
	       fits(debtor->bytes, wanted->bytes, meters->grace_bytes);
}

static struct debtor *debtor_new(struct grace *grace, uint64_t account)
{
	struct debtor *debtor;

	if (idmap_count(grace->debtors) >= GRACE_ACCOUNTS_MAX)
		return NULL;
	debtor = calloc(1, sizeof *debtor);
	if (debtor == NULL || !idmap_put(grace->debtors, account, debtor)) {
		free(debtor);
		return NULL;
	}
	debtor->account = account;
	return debtor;
}

static void owe(struct debtor *debtor, struct grant *grant)
{
	grant->debtor = debtor;
	debtor->grants++;
	debtor->messages += grant->messages;
	debtor->recipients += grant->recipients;
	debtor->bytes += grant->bytes;
}

uint64_t grace_take(struct grace *grace, const struct take_wanted *wanted)
{
	struct debtor *debtor = idmap_get(grace->debtors, wanted->account);
	size_t len = strlen(wanted->domain);
	struct grant *grant;

	if (!has_room(debtor, wanted) || grace->count >= GRACE_GRANTS_MAX)
		return 0;
	grant = calloc(1, sizeof *grant + len + 1);
	if (grant == NULL || !idmap_put(grace->open, grace->last_number + 1, grant)) {
		free(grant);
		return 0;
	}
	if (debtor == NULL)
		debtor = debtor_new(grace, wanted->account);
	if (debtor == NULL) {
		free(idmap_take(grace->open, grace->last_number + 1));
		return 0;
	}
	grant->number = ++grace->last_number;
	grant->credential = wanted->credential;
	grant->messages = wanted->messages;
	grant->recipients = wanted->recipients;
	grant->bytes = wanted->bytes;
	memcpy(grant->domain, wanted->domain, len + 1);
	owe(debtor, grant);
	grace->count++;
	counter_add(COUNTER_GRACE_GRANTS, grant->messages);
	return grant->number;
}

void grace_keep(struct grace *grace, uint64_t number)
{
	struct grant *grant = idmap_take(grace->open, number);

	if (grant == NULL)
		return;
	grant->seq = ++*grace->seq;
	TAILQ_INSERT_TAIL(&grace->due, grant, link);
	grace->wake(0, grace->arg);
}

void grace_drop(struct grace *grace, uint64_t number)
{
	struct grant *grant = idmap_take(grace->open, number);

	if (grant != NULL)
		free_grant(grace, grant);
}

/* ------------------------------------------------------------------- report */
static void put_off(struct grace *grace)
{
	TAILQ_CONCAT(&grace->sent, &grace->due, link);
	TAILQ_CONCAT(&grace->due, &grace->sent, link);
	grace->paused_until_ms = grace->now_ms + GRACE_RETRY_MS;
	grace->wake(GRACE_RETRY_MS, grace->arg);
}

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct grace *grace = arg;
	uint64_t charged;

	(void)token;
	grace->busy = false;
	if (result == DATABASE_ROWS && query_parse_count(rows, &charged)) {
		free_all(grace, &grace->sent);
		log_message(LOG_INFO, "grace-reported", "%llu grants of an outage are counted now",
			(unsigned long long)charged);
	} else {
		put_off(grace);
	}
	if (!TAILQ_EMPTY(&grace->due))
		grace->wake(0, grace->arg);
}

static void load(struct grace *grace, struct charges *charges)
{
	for (size_t i = 0; i < GRACE_REPORT_MAX && !TAILQ_EMPTY(&grace->due); i++) {
		struct grant *grant = TAILQ_FIRST(&grace->due);
		const struct charge charge = {
			.seq = grant->seq,
			.account = grant->debtor->account,
			.credential = grant->credential,
			.domain = grant->domain,
			.receipt = "",
			.messages = grant->messages,
			.recipients = grant->recipients,
			.bytes = grant->bytes,
		};
		charges_add(charges, &charge);
		TAILQ_REMOVE(&grace->due, grant, link);
		TAILQ_INSERT_TAIL(&grace->sent, grant, link);
	}
}

void grace_tick(struct grace *grace, uint64_t now_ms)
{
	grace->now_ms = now_ms;
	if (grace->busy || TAILQ_EMPTY(&grace->due))
		return;
	if (now_ms < grace->paused_until_ms) {
		grace->wake(grace->paused_until_ms - now_ms, grace->arg);
		return;
	}
	struct charges *charges = charges_new();
	if (charges == NULL) {
		put_off(grace);
		return;
	}
	load(grace, charges);
	grace->busy = charges_send(&charges, grace->lanes, grace->node, on_answer, grace);
	if (!grace->busy)
		put_off(grace);
}
