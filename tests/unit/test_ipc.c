/* SPDX-License-Identifier: ISC */
/* The table of frame types, and the bounds that each payload is held to. */
#include "common/ipc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

union payload {
	uint8_t bytes[2048];
	struct ipc_auth_request auth;
	struct ipc_auth_verdict verdict;
	struct ipc_mail_request mail;
	struct ipc_owner_request owner;
	struct ipc_owner_verdict owned;
	struct ipc_policy_verdict policy;
	struct ipc_outcome outcome;
	struct ipc_session session;
	struct ipc_hash_request hash;
	struct ipc_hash_result result;
	struct ipc_control control;
};

static union payload p;

static void test_every_type_has_a_size_and_a_name(void **state)
{
	(void)state;
	for (int type = 1; type < IPC_TYPE_END; type++) {
		assert_in_range(ipc_size((enum ipc_type)type), 1, sizeof p);
		assert_string_not_equal(ipc_name((enum ipc_type)type), "unknown");
		for (int other = 1; other < type; other++)
			assert_string_not_equal(
				ipc_name((enum ipc_type)type), ipc_name((enum ipc_type)other));
	}
}

static void test_no_other_type_has(void **state)
{
	static const int none[] = {
		0, IPC_TYPE_END, IPC_TYPE_END + 1, 255, -1, INT32_MAX, INT32_MIN};

	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		assert_int_equal(ipc_size((enum ipc_type)none[i]), 0);
		assert_string_equal(ipc_name((enum ipc_type)none[i]), "unknown");
		assert_false(ipc_valid((enum ipc_type)none[i], &p));
	}
}

/* A number in a payload, its type, and its bounds; the rest of the payload is valid. */
static const struct field {
	const char *name;
	enum ipc_type type;
	size_t offset, size;
	uint64_t min, max;
} fields[] = {
#define FIELD(type_, structure, member, min_, max_)                                  \
	{                                                                            \
#type_ " " #member, IPC_##type_, offsetof(struct structure, member), \
			sizeof((struct structure *)NULL)->member, (min_), (max_)     \
	}
	FIELD(AUTH_REQUEST, ipc_auth_request, login_len, 0, IPC_LOGIN_MAX),
	FIELD(AUTH_REQUEST, ipc_auth_request, secret_len, 0, IPC_SECRET_MAX),
	FIELD(AUTH_REQUEST, ipc_auth_request, mechanism, IPC_MECHANISM_PLAIN, IPC_MECHANISM_LOGIN),
	FIELD(AUTH_REQUEST, ipc_auth_request, authzid_differs, 0, 1),
	FIELD(BLOCK, ipc_block, step, IPC_BLOCK_BEGIN, IPC_BLOCK_END),
	FIELD(BLOCK, ipc_block, bits, 0, 128),
	FIELD(AUTH_VERDICT, ipc_auth_verdict, login_len, 0, IPC_LOGIN_MAX),
	FIELD(AUTH_VERDICT, ipc_auth_verdict, result, IPC_AUTH_OK, IPC_AUTH_SESSIONS),
	FIELD(AUTH_VERDICT, ipc_auth_verdict, from_policy, IPC_FROM_LISTENER, IPC_FROM_REWRITE),
	FIELD(AUTH_VERDICT, ipc_auth_verdict, token_len, 0, IPC_TOKEN_MAX),
	FIELD(AUTH_CANCEL, ipc_session, login_len, 0, IPC_LOGIN_MAX),
	FIELD(AUTH_CANCEL, ipc_session, from_policy, IPC_FROM_LISTENER, IPC_FROM_REWRITE),
	FIELD(SESSION_END, ipc_session, login_len, 0, IPC_LOGIN_MAX),
	FIELD(SESSION_END, ipc_session, from_policy, IPC_FROM_LISTENER, IPC_FROM_REWRITE),
	FIELD(ATTACH_SESSION, ipc_session, login_len, 0, IPC_LOGIN_MAX),
	FIELD(ATTACH_SESSION, ipc_session, from_policy, IPC_FROM_LISTENER, IPC_FROM_REWRITE),
	FIELD(MAIL_REQUEST, ipc_mail_request, sender_len, 0, IPC_PATH_MAX),
	FIELD(OWNER_REQUEST, ipc_owner_request, address_len, 0, IPC_PATH_MAX),
	FIELD(MAIL_VERDICT, ipc_policy_verdict, meter_len, 0, IPC_METER_NAME_MAX),
	FIELD(MAIL_VERDICT, ipc_policy_verdict, policy, IPC_POLICY_OK, IPC_POLICY_UNAVAILABLE),
	FIELD(TAKE_VERDICT, ipc_policy_verdict, meter_len, 0, IPC_METER_NAME_MAX),
	FIELD(TAKE_VERDICT, ipc_policy_verdict, policy, IPC_POLICY_OK, IPC_POLICY_UNAVAILABLE),
	FIELD(RECIPIENTS, ipc_recipients, count, 1, IPC_RECIPIENTS_MAX),
	FIELD(INTENT, ipc_intent, sender_len, 0, IPC_PATH_MAX),
	FIELD(INTENT, ipc_intent, backend_len, 0, IPC_BACKEND_MAX),
	FIELD(OUTCOME, ipc_outcome, kind, IPC_OUTCOME_ACCEPTED, IPC_OUTCOME_UNKNOWN),
	FIELD(OUTCOME, ipc_outcome, queue_id_len, 0, IPC_QUEUE_ID_MAX),
	FIELD(HASH_REQUEST, ipc_hash_request, phc_len, 1, IPC_PHC_MAX),
	FIELD(HASH_REQUEST, ipc_hash_request, secret_len, 0, IPC_SECRET_MAX),
	FIELD(HASH_RESULT, ipc_hash_result, outcome, IPC_HASH_MATCH, IPC_HASH_FAILED),
	FIELD(CONTROL_CHANNEL, ipc_control, process, IPC_PROCESS_MASTER, IPC_PROCESS_ADMIN),
	FIELD(CONTROL_COUNTERS, ipc_control, process, IPC_PROCESS_MASTER, IPC_PROCESS_ADMIN),
	FIELD(CONTROL_DRAIN, ipc_control, process, IPC_PROCESS_MASTER, IPC_PROCESS_ADMIN),
	FIELD(CONTROL_READY, ipc_control, process, IPC_PROCESS_MASTER, IPC_PROCESS_ADMIN),
};

static void set(const struct field *field, uint64_t value)
{
	memcpy(p.bytes + field->offset, &value,
		field->size); /* little-endian, as all our targets */
}

static bool valid_with(const struct field *field, uint64_t value)
{
	memset(&p, 0, sizeof p);
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		if (fields[i].type == field->type)
			set(&fields[i], fields[i].min);
	}
	set(field, value);
	return ipc_valid(field->type, &p);
}

static void check_value(const struct field *field, uint64_t value)
{
	bool want = value >= field->min && value <= field->max;

	if (valid_with(field, value) != want)
		fail_msg("%s = %llu: got %d, want %d", field->name, (unsigned long long)value,
			!want, want);
}

static void test_bounds_of_every_field(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		const struct field *field = &fields[i];
		uint64_t largest = (UINT64_C(1) << 8 * field->size) - 1;
		for (uint64_t value = 0; value <= largest; value++)
			check_value(field, value);
	}
}

/* With a stored hash the cost is that hash's; without one it says what to make, and of what. */
static void test_requests_for_hashes(void **state)
{
	static const struct {
		uint64_t memory_bytes;
		uint32_t passes;
		uint16_t phc_len, secret_len;
		bool want;
	} cases[] = {
		{0, 0, 97, 6, true},
		{0, 0, 97, 0, true},
		{1 << 20, 0, 97, 6, false},
		{0, 1, 97, 6, false},
		{1 << 20, 1, 0, 6, true},
		{UINT64_MAX, UINT32_MAX, 0, IPC_SECRET_MAX, true}, /* the caps are password.h's */
		{1 << 20, 1, 0, 0, false},
		{0, 1, 0, 6, false},
		{1 << 20, 0, 0, 6, false},
		{0, 0, 0, 6, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		memset(&p, 0, sizeof p);
		p.hash.memory_bytes = cases[i].memory_bytes;
		p.hash.passes = cases[i].passes;
		p.hash.phc_len = cases[i].phc_len;
		p.hash.secret_len = cases[i].secret_len;
		if (ipc_valid(IPC_HASH_REQUEST, &p) != cases[i].want)
			fail_msg("case %zu: got %d, want %d", i, !cases[i].want, cases[i].want);
	}
}

/* A hash comes with MADE, and nothing else brings one. */
static void test_results_of_hashes(void **state)
{
	(void)state;
	memset(&p, 0, sizeof p);
	for (unsigned outcome = 0; outcome <= UINT8_MAX; outcome++) {
		for (unsigned len = 0; len <= UINT16_MAX; len++) {
			bool made = outcome == IPC_HASH_MADE;
			bool verified = outcome == IPC_HASH_MATCH || outcome == IPC_HASH_MISMATCH ||
					outcome == IPC_HASH_FAILED;
			bool want =
				(made && len > 0 && len <= IPC_PHC_MAX) || (verified && len == 0);
			p.result.outcome = (uint8_t)outcome;
			p.result.phc_len = (uint16_t)len;
			if (ipc_valid(IPC_HASH_RESULT, &p) != want)
				fail_msg("outcome %u, %u octets: got %d, want %d", outcome, len,
					!want, want);
		}
	}
}

/* A question about an owner is never answered with a limit. */
static void test_verdicts_about_owners(void **state)
{
	(void)state;
	memset(&p, 0, sizeof p);
	for (unsigned policy = 0; policy <= UINT8_MAX; policy++) {
		bool want = policy == IPC_POLICY_OK || policy == IPC_POLICY_SENDER ||
			    policy == IPC_POLICY_REVOKED || policy == IPC_POLICY_UNAVAILABLE;
		p.owned.policy = (uint8_t)policy;
		if (ipc_valid(IPC_OWNER_VERDICT, &p) != want)
			fail_msg("policy %u: got %d, want %d", policy, !want, want);
	}
}

/* What a length bounds is an array of that length. */
static void test_lengths_fit_their_arrays(void **state)
{
	(void)state;
	assert_int_equal(sizeof p.auth.login, IPC_LOGIN_MAX);
	assert_int_equal(sizeof p.auth.secret, IPC_SECRET_MAX);
	assert_int_equal(sizeof p.verdict.login, IPC_LOGIN_MAX);
	assert_int_equal(sizeof p.session.login, IPC_LOGIN_MAX);
	assert_int_equal(sizeof p.verdict.token, IPC_TOKEN_MAX);
	assert_int_equal(sizeof p.mail.sender, IPC_PATH_MAX);
	assert_int_equal(sizeof p.owner.address, IPC_PATH_MAX);
	assert_int_equal(sizeof p.policy.meter, IPC_METER_NAME_MAX);
	assert_int_equal(sizeof p.outcome.queue_id, IPC_QUEUE_ID_MAX);
	assert_int_equal(sizeof p.hash.phc, IPC_PHC_MAX);
	assert_int_equal(sizeof p.hash.secret, IPC_SECRET_MAX);
	assert_int_equal(sizeof p.result.phc, IPC_PHC_MAX);
	assert_int_equal(sizeof(struct ipc_header), 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_type_has_a_size_and_a_name),
		cmocka_unit_test(test_no_other_type_has),
		cmocka_unit_test(test_bounds_of_every_field),
		cmocka_unit_test(test_requests_for_hashes),
		cmocka_unit_test(test_results_of_hashes),
		cmocka_unit_test(test_verdicts_about_owners),
		cmocka_unit_test(test_lengths_fit_their_arrays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
