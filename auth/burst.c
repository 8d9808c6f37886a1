/* SPDX-License-Identifier: ISC */
/* Limits of a minute; see burst.h. */
#include "auth/burst.h"

#include "common/idmap.h"

#include <stdlib.h>
#include <sys/queue.h>

/* The oldest slot counts until its last moment has left the window. */
enum { SLOTS = BURST_WINDOW_MS / BURST_SLOT_MS + 1 };

struct amounts {
	uint32_t messages, recipients;
};

struct sender {
	TAILQ_ENTRY(sender) age; /* the longest without a message first */
	uint64_t account;
	uint64_t slot; /* the present one, as it was used last */
	struct amounts slots[SLOTS];
};

struct burst {
	struct idmap *senders; /* by account */
	TAILQ_HEAD(, sender) age;
};

struct burst *burst_new(void)
{
	struct burst *burst = calloc(1, sizeof *burst);

	if (burst == NULL)
		return NULL;
	TAILQ_INIT(&burst->age);
	burst->senders = idmap_new();
	if (burst->senders == NULL)
		burst_destroy(&burst);
	return burst;
}

static void forget(struct burst *burst, struct sender *sender)
{
	TAILQ_REMOVE(&burst->age, sender, age);
	idmap_take(burst->senders, sender->account);
	free(sender);
}

void burst_destroy(struct burst **burst)
{
	if (*burst == NULL)
		return;
	while (!TAILQ_EMPTY(&(*burst)->age))
		forget(*burst, TAILQ_FIRST(&(*burst)->age));
	idmap_destroy(&(*burst)->senders);
	free(*burst);
	*burst = NULL;
}

size_t burst_count(const struct burst *burst)
{
	return idmap_count(burst->senders);
}

static void forget_old(struct burst *burst, uint64_t slot)
{
	while (!TAILQ_EMPTY(&burst->age) && TAILQ_FIRST(&burst->age)->slot + SLOTS <= slot)
		forget(burst, TAILQ_FIRST(&burst->age));
}

/* NULL: too many, or no memory. */
static struct sender *sender_of(struct burst *burst, uint64_t account, uint64_t slot)
{
	struct sender *sender = idmap_get(burst->senders, account);

	forget_old(burst, slot);
	sender = idmap_get(burst->senders, account);
	if (sender != NULL)
		return sender;
	/* One that counts may not be forgotten for another. */
	if (idmap_count(burst->senders) >= BURST_ACCOUNTS_MAX)
		return NULL;
	sender = calloc(1, sizeof *sender);
	if (sender == NULL || !idmap_put(burst->senders, account, sender)) {
		free(sender);
		return NULL;
	}
	sender->account = account;
	sender->slot = slot;
	TAILQ_INSERT_TAIL(&burst->age, sender, age);
	return sender;
}

/* Slots that passed without a message are empty. */
static void turn(struct burst *burst, struct sender *sender, uint64_t slot)
{
	for (uint64_t s = sender->slot; s < slot && s < sender->slot + SLOTS; s++)
		sender->slots[(s + 1) % SLOTS] = (struct amounts){0, 0};
	sender->slot = slot;
	TAILQ_REMOVE(&burst->age, sender, age);
	TAILQ_INSERT_TAIL(&burst->age, sender, age);
}

static uint32_t amount(const struct amounts *amounts, bool recipients)
{
	return recipients ? amounts->recipients : amounts->messages;
}

/* One of the two limits. */
static enum burst_answer look(const struct sender *sender, bool recipients, int64_t limit,
	uint32_t more, uint64_t now_ms, struct burst_refusal *refusal)
{
	uint64_t used = 0;

	if (limit == ACCOUNT_UNLIMITED)
		return BURST_FITS;
	for (size_t i = 0; i < SLOTS; i++)
		used += amount(&sender->slots[i], recipients);
	if (used + more <= (uint64_t)limit)
		return BURST_FITS;
	*refusal = (struct burst_refusal){
		.meter = recipients ? "recipients per minute" : "messages per minute",
		.limit = (uint64_t)limit,
		.used = used,
	};
	if (more > (uint64_t)limit)
		return BURST_NEVER;
	/* From the oldest slot on, until there is room. */
	for (uint64_t i = 1; i <= SLOTS; i++) {
		used -= amount(&sender->slots[(sender->slot + i) % SLOTS], recipients);
		if (used + more > (uint64_t)limit)
			continue;
		refusal->in_ms = (sender->slot + i) * BURST_SLOT_MS - now_ms;
		break;
	}
	return BURST_FULL;
}

enum burst_answer burst_take(struct burst *burst, uint64_t account,
	const struct account_meters *meters, uint32_t messages, uint32_t recipients,
	uint64_t now_ms, struct burst_refusal *refusal_out)
{
	uint64_t slot = now_ms / BURST_SLOT_MS;
	enum burst_answer answer;
	struct sender *sender;

	if (meters->burst_messages == ACCOUNT_UNLIMITED &&
		meters->burst_recipients == ACCOUNT_UNLIMITED)
		return BURST_FITS;
	sender = sender_of(burst, account, slot);
	if (sender == NULL)
		return BURST_CROWDED;
	turn(burst, sender, slot);
	answer = look(sender, false, meters->burst_messages, messages, now_ms, refusal_out);
	if (answer == BURST_FITS)
		answer = look(
			sender, true, meters->burst_recipients, recipients, now_ms, refusal_out);
	if (answer != BURST_FITS)
		return answer;
	sender->slots[slot % SLOTS].messages += messages;
	sender->slots[slot % SLOTS].recipients += recipients;
	return BURST_FITS;
}

void burst_give_back(struct burst *burst, uint64_t account, uint32_t messages, uint32_t recipients,
	uint64_t at_ms)
{
	struct sender *sender = idmap_get(burst->senders, account);
	uint64_t slot = at_ms / BURST_SLOT_MS;

	if (sender == NULL || slot > sender->slot || slot + SLOTS <= sender->slot)
		return;
	struct amounts *amounts = &sender->slots[slot % SLOTS];
	amounts->messages -= messages < amounts->messages ? messages : amounts->messages;
	amounts->recipients -= recipients < amounts->recipients ? recipients : amounts->recipients;
}
