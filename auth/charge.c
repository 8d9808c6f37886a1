/* SPDX-License-Identifier: ISC */
/* Calls of charges(); see charge.h. */
#include "auth/charge.h"

#include "auth/array_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQS, RECEIPTS, ACCOUNTS, CREDENTIALS, DOMAINS, MESSAGES, RECIPIENTS, BYTES, ARRAYS };

enum { NUMBER_MAX = 24 };

struct charges {
	struct array_text arrays[ARRAYS];
};

struct charges *charges_new(void)
{
	return calloc(1, sizeof(struct charges));
}

void charges_add(struct charges *charges, const struct charge *charge)
{
	struct array_text *arrays = charges->arrays;

	array_text_number(&arrays[SEQS], (int64_t)charge->seq);
	array_text_bytes(&arrays[RECEIPTS], charge->receipt, strlen(charge->receipt));
	array_text_number(&arrays[ACCOUNTS], (int64_t)charge->account);
	array_text_number(&arrays[CREDENTIALS], (int64_t)charge->credential);
	array_text_bytes(&arrays[DOMAINS], charge->domain, strlen(charge->domain));
	array_text_number(&arrays[MESSAGES], charge->messages);
	array_text_number(&arrays[RECIPIENTS], charge->recipients);
	array_text_number(&arrays[BYTES], (int64_t)charge->bytes);
}

static bool ask(struct charges *charges, const struct take_lane *lanes, uint64_t node,
	database_done *done, void *arg)
{
	char text[NUMBER_MAX];
	const char *values[1 + ARRAYS] = {text};

	snprintf(text, sizeof text, "%" PRIu64, node);
	for (size_t i = 0; i < ARRAYS; i++) {
		values[1 + i] = array_text_end(&charges->arrays[i]);
		if (values[1 + i] == NULL)
			return false;
	}
	for (size_t i = 0; i < TAKE_LANES; i++) {
		if (lanes[i].ask(lanes[i].database, QUERY_CHARGES, values, done, arg, 0))
			return true;
	}
	return false;
}

void charges_free(struct charges **charges)
{
	for (size_t i = 0; i < ARRAYS; i++)
		array_text_free(&(*charges)->arrays[i]);
	free(*charges);
	*charges = NULL;
}

bool charges_send(struct charges **charges, const struct take_lane *lanes, uint64_t node,
	database_done *done, void *arg)
{
	bool asked = ask(*charges, lanes, node, done, arg);

	charges_free(charges);
	return asked;
}
