/* SPDX-License-Identifier: ISC */
/*
 * Rows of the database, good and hostile: a wrong shape is never an answer and never a crash.
 *
 * Long: a shape of row after the other, read by name.
 */
#include "auth/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	BOOL = 16,
	BYTEA = 17,
	INT8 = 20,
	INT4 = 23,
	TEXT = 25,
	TEXTS = 1009,
	IDS = 1016,
	COLUMNS = 21
};

struct value {
	Oid type;
	int len; /* -1: NULL */
	char bytes[16 * 1024];
};

static struct value row[COLUMNS];

static void put_number(struct value *value, Oid type, int64_t number)
{
	int width = type == INT4 ? 4 : 8;

	value->type = type;
	value->len = width;
	for (int i = 0; i < width; i++)
		value->bytes[i] = (char)((uint64_t)number >> (8 * (width - 1 - i)));
}

static void put_text(struct value *value, const char *text)
{
	value->type = TEXT;
	value->len = (int)strlen(text);
	memcpy(value->bytes, text, strlen(text));
}

static void append(struct value *value, int32_t number)
{
	for (int i = 0; i < 4; i++)
		value->bytes[value->len++] = (char)((uint32_t)number >> (8 * (3 - i)));
}

/* A text[] of equal elements in the binary format. */
static void put_array(struct value *value, int32_t count, const char *element, int32_t len)
{
	value->type = TEXTS;
	value->len = 0;
	append(value, count == 0 ? 0 : 1);
	append(value, 0);
	append(value, TEXT);
	if (count != 0) {
		append(value, count);
		append(value, 1);
	}
	for (int32_t i = 0; i < count && value->len < 12000; i++) {
		append(value, len);
		if (len > 0) {
			memcpy(value->bytes + value->len, element, (size_t)len);
			value->len += len;
		}
	}
}

static PGresult *result_of(const struct value *values, int columns, int rows)
{
	static char name[] = "c";
	PGresAttDesc attributes[COLUMNS];
	PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

	memset(attributes, 0, sizeof attributes);
	for (int i = 0; i < columns; i++) {
		attributes[i].name = name;
		attributes[i].format = 1;
		attributes[i].typid = values[i].type;
	}
	assert_int_equal(PQsetResultAttrs(result, columns, attributes), 1);
	for (int r = 0; r < rows; r++) {
		for (int i = 0; i < columns; i++) {
			char *copy = malloc((size_t)values[i].len + 1); /* exact: ASan watches */
			assert_non_null(copy);
			memcpy(copy, values[i].bytes, values[i].len < 0 ? 0 : values[i].len);
			assert_int_equal(PQsetvalue(result, r, i, copy, values[i].len), 1);
			free(copy);
		}
	}
	return result;
}

enum {
	ID,
	VERSION,
	LOGIN,
	HASH,
	ENABLED,
	RECIPIENTS,
	BYTES,
	SENDERS,
	COUNT,
	FROM_POLICY,
	TOKEN,
	PASSWORD,
	SESSIONS,
	BURST_MESSAGES,
	BURST_RECIPIENTS,
	GRACE_MESSAGES,
	GRACE_RECIPIENTS,
	GRACE_BYTES,
	WANTS_BYTES,
	WANTS_RECIPIENTS,
	LEASABLE
};

static void good_row(void)
{
	memset(row, 0, sizeof row);
	put_number(&row[ID], INT8, 42);
	put_number(&row[VERSION], INT8, 7);
	put_text(&row[LOGIN], "alice@x.test");
	put_text(&row[HASH], "$argon2id$...");
	row[ENABLED] = (struct value){BOOL, 1, {1}};
	put_number(&row[RECIPIENTS], INT4, 100);
	put_number(&row[BYTES], INT8, 5000000000);
	put_array(&row[SENDERS], 2, "a:alice@x.test", 14);
	put_number(&row[COUNT], INT4, 2);
	put_text(&row[FROM_POLICY], "observe");
	put_text(&row[TOKEN], "k7wq3mzt2bxeo5n");
	put_number(&row[PASSWORD], INT8, 5);
	for (int i = SESSIONS; i <= GRACE_BYTES; i++)
		put_number(&row[i], INT8, i - BURST_MESSAGES); /* from -1 on */
	row[WANTS_BYTES] = row[LEASABLE] = (struct value){BOOL, 1, {1}};
	row[WANTS_RECIPIENTS] = (struct value){BOOL, 1, {0}};
}

static enum query_answer parse(int columns, int rows, struct account **account)
{
	PGresult *result = result_of(row, columns, rows);
	enum query_answer answer = query_parse_account(result, account);

	PQclear(result);
	return answer;
}

static void test_a_good_row(void **state)
{
	struct account *account;

	(void)state;
	good_row();
	assert_int_equal(parse(COLUMNS, 1, &account), QUERY_ROW);
	assert_int_equal(account->id, 42);
	assert_int_equal(account->version, 7);
	assert_int_equal(account->password_version, 5);
	assert_int_equal(account->login_len, 12);
	assert_memory_equal(account->login, "alice@x.test", 12);
	assert_string_equal(account->phc, "$argon2id$...");
	assert_true(account->enabled);
	assert_int_equal(account->recipients, 100);
	assert_int_equal(account->message_bytes, 5000000000);
	assert_int_equal(account->from_policy, IPC_FROM_OBSERVE);
	assert_int_equal(account->token_len, 15);
	assert_memory_equal(account->token, "k7wq3mzt2bxeo5n", 15);
	assert_int_equal(account->meters.sessions, ACCOUNT_UNLIMITED);
	assert_int_equal(account->meters.burst_messages, 0);
	assert_int_equal(account->meters.burst_recipients, 1);
	assert_int_equal(account->meters.grace_messages, 2);
	assert_int_equal(account->meters.grace_recipients, 3);
	assert_int_equal(account->meters.grace_bytes, 4);
	assert_true(account->meters.wants_bytes && account->meters.leasable);
	assert_false(account->meters.wants_recipients);
	assert_int_equal(account->senders.count, 2);
	assert_int_equal(
		sender_match(&account->senders, (const uint8_t *)"alice@x.test", 12), SENDER_OWNED);
	account_destroy(&account);
	assert_int_equal(parse(COLUMNS, 0, &account), QUERY_NO_ROW);
	assert_null(account);
}

static void test_what_may_be_null(void **state)
{
	struct account *account;

	(void)state;
	good_row();
	row[HASH].len = row[RECIPIENTS].len = row[BYTES].len = row[SENDERS].len = row[COUNT].len =
		row[FROM_POLICY].len = row[TOKEN].len = -1;
	assert_int_equal(parse(COLUMNS, 1, &account), QUERY_ROW);
	assert_int_equal(account->phc_len, 0);
	assert_false(account->hash_malformed);
	assert_int_equal(account->recipients, 0);
	assert_int_equal(account->message_bytes, 0);
	assert_int_equal(account->senders.count, 0);
	assert_int_equal(account->from_policy, IPC_FROM_LISTENER);
	assert_int_equal(account->token_len, 0);
	account_destroy(&account);
}

/* A limit that is not told is no limit that may be left out. */
static void test_what_limits_may_not_be(void **state)
{
	struct account *account;

	(void)state;
	for (int column = SESSIONS; column <= LEASABLE; column++) {
		good_row();
		row[column].len = -1;
		assert_int_equal(parse(COLUMNS, 1, &account), QUERY_BAD);
		good_row();
		if (column <= GRACE_BYTES)
			put_number(&row[column], INT8, -2);
		else
			row[column].bytes[0] = 2;
		assert_int_equal(parse(COLUMNS, 1, &account), QUERY_BAD);
	}
}

static void test_every_policy_of_from(void **state)
{
	static const struct {
		const char *word;
		enum ipc_from_policy policy;
	} words[] = {{"off", IPC_FROM_OFF}, {"observe", IPC_FROM_OBSERVE},
		{"reject", IPC_FROM_REJECT}, {"rewrite", IPC_FROM_REWRITE}};

	(void)state;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		struct account *account;
		good_row();
		put_text(&row[FROM_POLICY], words[i].word);
		assert_int_equal(parse(COLUMNS, 1, &account), QUERY_ROW);
		assert_int_equal(account->from_policy, words[i].policy);
		account_destroy(&account);
	}
}

/* Only what a header can hold as it is. */
static void test_every_octet_of_a_token(void **state)
{
	(void)state;
	for (unsigned octet = 0; octet <= UINT8_MAX; octet++) {
		bool want = (octet >= '0' && octet <= '9') || (octet >= 'A' && octet <= 'Z') ||
			    (octet >= 'a' && octet <= 'z') || octet == '.' || octet == '_' ||
			    octet == '-';
		struct account *account;
		good_row();
		row[TOKEN].bytes[4] = (char)octet;
		if ((parse(COLUMNS, 1, &account) == QUERY_ROW) != want)
			fail_msg("octet %u: got %d, want %d", octet, !want, want);
		account_destroy(&account);
	}
}

static void test_the_longest_token(void **state)
{
	struct account *account;

	(void)state;
	good_row();
	memset(row[TOKEN].bytes, 'x', IPC_TOKEN_MAX + 1);
	row[TOKEN].len = IPC_TOKEN_MAX;
	assert_int_equal(parse(COLUMNS, 1, &account), QUERY_ROW);
	assert_int_equal(account->token_len, IPC_TOKEN_MAX);
	account_destroy(&account);
}

static void test_an_overlong_hash_is_the_accounts_trouble(void **state)
{
	struct account *account;

	(void)state;
	good_row();
	memset(row[HASH].bytes, 'x', 4096);
	row[HASH].len = 4096;
	assert_int_equal(parse(COLUMNS, 1, &account), QUERY_ROW);
	assert_true(account->hash_malformed);
	assert_int_equal(account->phc_len, 0);
	account_destroy(&account);
	good_row();
	row[HASH].bytes[3] = '\0';
	assert_int_equal(parse(COLUMNS, 1, &account), QUERY_ROW);
	assert_true(account->hash_malformed);
	account_destroy(&account);
}

static void spoil_id_zero(void)
{
	put_number(&row[ID], INT8, 0);
}

static void spoil_id_negative(void)
{
	put_number(&row[ID], INT8, -1);
}

static void spoil_id_null(void)
{
	row[ID].len = -1;
}

static void spoil_id_short(void)
{
	row[ID].len = 7;
}

static void spoil_id_long(void)
{
	row[ID].len = 9;
}

static void spoil_type(void)
{
	row[RECIPIENTS].type = INT8;
}

static void spoil_recipients(void)
{
	put_number(&row[RECIPIENTS], INT4, -5);
}

static void spoil_enabled(void)
{
	row[ENABLED].bytes[0] = 2;
}

static void spoil_enabled_null(void)
{
	row[ENABLED].len = -1;
}

static void spoil_login_empty(void)
{
	row[LOGIN].len = 0;
}

static void spoil_login_long(void)
{
	row[LOGIN].len = IPC_LOGIN_MAX + 1;
	memset(row[LOGIN].bytes, 'x', IPC_LOGIN_MAX + 1);
}

static void spoil_login_nul(void)
{
	row[LOGIN].bytes[2] = '\0';
}

static void spoil_array_many(void)
{
	put_array(&row[SENDERS], SENDER_ROWS_MAX + 1, "*", 1);
}

static void spoil_array_count_lies(void)
{
	put_array(&row[SENDERS], 2, "a:a@x.test", 10);
	row[SENDERS].bytes[15] = 5;
}

static void spoil_array_count_negative(void)
{
	put_array(&row[SENDERS], 2, "a:a@x.test", 10);
	memset(row[SENDERS].bytes + 12, 0xff, 4);
}

static void spoil_array_element_null(void)
{
	put_array(&row[SENDERS], 2, "", -1);
}

static void spoil_array_element_huge(void)
{
	put_array(&row[SENDERS], 1, "*", 1);
	memset(row[SENDERS].bytes + 20, 0x7f, 4);
}

static void spoil_array_element_long(void)
{
	static char text[SENDER_ROW_BYTES + 1];

	memset(text, 'x', sizeof text);
	put_array(&row[SENDERS], 1, text, sizeof text);
}

static void spoil_array_dimensions(void)
{
	row[SENDERS].bytes[3] = 2;
}

static void spoil_array_of_other(void)
{
	row[SENDERS].bytes[11] = INT4;
}

static void spoil_array_truncated(void)
{
	row[SENDERS].len -= 3;
}

static void spoil_array_empty_bytes(void)
{
	row[SENDERS].len = 0;
}

static void spoil_array_trailing(void)
{
	row[SENDERS].len += 3;
}

static void spoil_from_policy(void)
{
	put_text(&row[FROM_POLICY], "rejec");
}

static void spoil_from_policy_long(void)
{
	put_text(&row[FROM_POLICY], "rejected");
}

static void spoil_from_policy_case(void)
{
	put_text(&row[FROM_POLICY], "Off");
}

static void spoil_from_policy_empty(void)
{
	row[FROM_POLICY].len = 0;
}

static void spoil_token_empty(void)
{
	row[TOKEN].len = 0;
}

static void spoil_token_long(void)
{
	row[TOKEN].len = IPC_TOKEN_MAX + 1;
	memset(row[TOKEN].bytes, 'x', IPC_TOKEN_MAX + 1);
}

static void spoil_token_line_end(void)
{
	put_text(&row[TOKEN], "a\r\nFrom: b");
}

static const struct {
	const char *name;
	void (*spoil)(void);
} hostile[] = {
	{"id 0", spoil_id_zero},
	{"id negative", spoil_id_negative},
	{"id null", spoil_id_null},
	{"id of 7 octets", spoil_id_short},
	{"id of 9 octets", spoil_id_long},
	{"another type", spoil_type},
	{"negative recipients", spoil_recipients},
	{"boolean of 2", spoil_enabled},
	{"enabled null", spoil_enabled_null},
	{"empty login", spoil_login_empty},
	{"long login", spoil_login_long},
	{"NUL in the login", spoil_login_nul},
	{"too many senders", spoil_array_many},
	{"more senders told than there", spoil_array_count_lies},
	{"negative number of senders", spoil_array_count_negative},
	{"null sender", spoil_array_element_null},
	{"sender of 2 GiB", spoil_array_element_huge},
	{"sender too long", spoil_array_element_long},
	{"two dimensions", spoil_array_dimensions},
	{"array of integers", spoil_array_of_other},
	{"truncated array", spoil_array_truncated},
	{"array of no octets", spoil_array_empty_bytes},
	{"octets behind the array", spoil_array_trailing},
	{"half a word for From", spoil_from_policy},
	{"a longer word for From", spoil_from_policy_long},
	{"a word for From in capitals", spoil_from_policy_case},
	{"empty word for From", spoil_from_policy_empty},
	{"empty token", spoil_token_empty},
	{"long token", spoil_token_long},
	{"line end in the token", spoil_token_line_end},
};

static void test_hostile_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		struct account *account;
		good_row();
		hostile[i].spoil();
		if (parse(COLUMNS, 1, &account) != QUERY_BAD || account != NULL)
			fail_msg("%s: taken", hostile[i].name);
	}
}

static void test_hostile_shapes(void **state)
{
	struct account *account;
	int32_t version;
	bool yes;

	(void)state;
	good_row();
	assert_int_equal(parse(COLUMNS, 2, &account), QUERY_BAD);
	assert_int_equal(parse(COLUMNS - 1, 1, &account), QUERY_BAD);
	PGresult *empty = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	assert_int_equal(query_parse_account(empty, &account), QUERY_BAD);
	assert_false(query_parse_contract(empty, &version));
	assert_false(query_parse_bool(empty, &yes));
	PQclear(empty);
}

static void test_every_truncation_of_the_array(void **state)
{
	(void)state;
	good_row();
	int whole = row[SENDERS].len;
	for (int len = 0; len < whole; len++) {
		struct account *account;
		row[SENDERS].len = len;
		if (parse(COLUMNS, 1, &account) != QUERY_BAD)
			fail_msg("an array cut to %d of %d octets was taken", len, whole);
	}
}

/* ------------------------------------------------------------------- limits */
enum { Q_RESULT, Q_METER, Q_LIMIT, Q_USED, Q_RESET, Q_RECEIPT, Q_WARNED, Q_COLUMNS };
enum { L_LEASE = Q_COLUMNS, L_MESSAGES, L_RECIPIENTS, L_BYTES, L_TTL, L_COLUMNS };

static void good_lease(void)
{
	memset(row, 0, sizeof row);
	put_number(&row[Q_RESULT], INT4, 0);
	put_text(&row[Q_METER], "");
	put_number(&row[Q_LIMIT], INT8, 500);
	put_number(&row[Q_USED], INT8, 451);
	put_number(&row[Q_RESET], INT8, 0);
	put_text(&row[Q_RECEIPT], "1764074400:3");
	put_text(&row[Q_WARNED], "messages per hour");
	put_number(&row[L_LEASE], INT8, 77);
	put_number(&row[L_MESSAGES], INT8, 50);
	put_number(&row[L_RECIPIENTS], INT8, 150);
	put_number(&row[L_BYTES], INT8, 5000000000);
	put_number(&row[L_TTL], INT4, 10);
}

static bool parse_lease(int columns, int rows, struct query_lease_row *out)
{
	PGresult *result = result_of(row, columns, rows);
	bool good = query_parse_lease(result, out);

	PQclear(result);
	return good;
}

static void test_a_lease(void **state)
{
	struct query_lease_row out;

	(void)state;
	good_lease();
	assert_true(parse_lease(L_COLUMNS, 1, &out));
	assert_int_equal(out.quota.result, QUERY_QUOTA_GRANTED);
	assert_string_equal(out.quota.receipt, "1764074400:3");
	assert_int_equal(out.quota.receipt_len, 12);
	assert_int_equal(out.quota.used, 451);
	assert_memory_equal(out.quota.warned, "messages per hour", out.quota.warned_len);
	assert_int_equal(out.lease, 77);
	assert_int_equal(out.bytes, 5000000000);
	assert_int_equal(out.ttl_s, 10);
	assert_false(parse_lease(L_COLUMNS, 0, &out));
	assert_false(parse_lease(L_COLUMNS - 1, 1, &out));
}

static void test_refusals(void **state)
{
	static const int64_t results[] = {1, 2, 3, 4};
	struct query_lease_row out;

	(void)state;
	for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
		good_lease();
		put_number(&row[Q_RESULT], INT4, results[i]);
		put_text(&row[Q_METER], "messages per hour");
		put_number(&row[Q_RESET], INT8, 1795579050);
		row[Q_RECEIPT].len = row[Q_WARNED].len = row[L_LEASE].len = -1;
		assert_true(parse_lease(L_COLUMNS, 1, &out));
		assert_int_equal(out.quota.result, results[i]);
		assert_int_equal(out.quota.meter_len, 17);
		assert_int_equal(out.quota.reset_s, 1795579050);
		assert_int_equal(out.quota.receipt_len, 0);
		assert_int_equal(out.lease, 0);
	}
}

static void test_hostile_limits(void **state)
{
	static const char long_label[] = "a meter with a name that is longer than all of the 48";
	struct query_lease_row out;

	(void)state;
	for (int column = 0; column < L_COLUMNS; column++) {
		good_lease();
		row[column].type = BOOL;
		assert_false(parse_lease(L_COLUMNS, 1, &out));
		good_lease();
		row[column].len--;
		if (row[column].type != TEXT)
			assert_false(parse_lease(L_COLUMNS, 1, &out));
	}
	static const int64_t results[] = {-1, 5, 256};
	for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
		good_lease();
		put_number(&row[Q_RESULT], INT4, results[i]);
		assert_false(parse_lease(L_COLUMNS, 1, &out));
	}
	good_lease();
	put_text(&row[Q_METER], long_label);
	assert_false(parse_lease(L_COLUMNS, 1, &out));
	good_lease();
	put_text(&row[Q_WARNED], long_label);
	assert_false(parse_lease(L_COLUMNS, 1, &out));
	good_lease();
	put_text(&row[Q_RECEIPT], ""); /* granted, but what? */
	assert_false(parse_lease(L_COLUMNS, 1, &out));
	memset(row[Q_RECEIPT].bytes, 'x', QUERY_RECEIPT_MAX + 1);
	row[Q_RECEIPT].len = QUERY_RECEIPT_MAX;
	assert_true(parse_lease(L_COLUMNS, 1, &out));
	row[Q_RECEIPT].len = QUERY_RECEIPT_MAX + 1;
	assert_false(parse_lease(L_COLUMNS, 1, &out));
	good_lease();
	row[Q_RECEIPT].bytes[1] = '\0';
	assert_false(parse_lease(L_COLUMNS, 1, &out));
	good_lease();
	put_number(&row[L_MESSAGES], INT8, -1);
	assert_false(parse_lease(L_COLUMNS, 1, &out));
}

static void test_holds(void **state)
{
	struct query_hold_row out[2];

	(void)state;
	memset(row, 0, sizeof row);
	put_number(&row[0], INT4, 1);
	row[1] = (struct value){BOOL, 1, {1}};
	put_number(&row[2], INT8, 20);
	PGresult *result = result_of(row, 3, 1);
	assert_true(query_parse_holds(result, 1, out));
	assert_true(out[0].granted);
	assert_int_equal(out[0].limit, 20);
	assert_false(query_parse_holds(result, 2, out));
	assert_false(query_parse_holds(result, 0, out));
	PQclear(result);
	result = result_of(row, 3, 2); /* the same number twice */
	assert_false(query_parse_holds(result, 2, out));
	PQclear(result);
	put_number(&row[2], INT8, -1);
	result = result_of(row, 3, 1);
	assert_true(query_parse_holds(result, 1, out));
	assert_true(out[0].limit == UINT64_MAX);
	PQclear(result);
	put_number(&row[0], INT4, 0);
	result = result_of(row, 3, 1);
	assert_false(query_parse_holds(result, 1, out));
	PQclear(result);
}

static void test_contract_and_bool(void **state)
{
	struct value value = {INT4, 4, {0, 0, 0, 1}};
	int32_t version;
	bool yes;

	(void)state;
	PGresult *result = result_of(&value, 1, 1);
	assert_true(query_parse_contract(result, &version));
	assert_int_equal(version, 1);
	assert_false(query_parse_bool(result, &yes));
	PQclear(result);
	value = (struct value){BOOL, 1, {1}};
	result = result_of(&value, 1, 1);
	assert_true(query_parse_bool(result, &yes));
	assert_true(yes);
	assert_false(query_parse_contract(result, &version));
	PQclear(result);
	result = result_of(&value, 1, 0);
	assert_false(query_parse_bool(result, &yes));
	PQclear(result);
}

static void test_the_table_is_whole(void **state)
{
	(void)state;
	for (int i = 0; i < QUERY_COUNT; i++) {
		assert_non_null(query_info[i].name);
		assert_non_null(query_info[i].sql);
		assert_in_range(query_info[i].parameters, 0, QUERY_PARAMETERS_MAX);
		for (int p = 1; p <= QUERY_PARAMETERS_MAX; p++) {
			char mark[16];
			snprintf(mark, sizeof mark, "$%d:", p);
			bool used = strstr(query_info[i].sql, mark) != NULL;
			if (used != (p <= query_info[i].parameters))
				fail_msg("%s: parameter %d", query_info[i].name, p);
		}
	}
}

/* An int8[] of numbers in the binary format. */
static void put_ids(struct value *value, int32_t count, int64_t first, int32_t len)
{
	value->type = IDS;
	value->len = 0;
	append(value, count == 0 ? 0 : 1);
	append(value, 0);
	append(value, INT8);
	if (count != 0) {
		append(value, count);
		append(value, 1);
	}
	for (int32_t i = 0; i < count && value->len < 15000; i++) {
		append(value, len);
		append(value, (int32_t)((first + i) >> 32));
		append(value, (int32_t)(first + i));
	}
}

enum { CURSOR, EVERYTHING, ACCOUNTS, CREDENTIALS, BLOCKS, EPOCH, CHANGES_COLUMNS };

static void good_changes(void)
{
	memset(row, 0, sizeof row);
	put_text(&row[CURSOR], "747:750:747");
	row[EVERYTHING] = (struct value){BOOL, 1, {0}};
	put_ids(&row[ACCOUNTS], 3, 5000000000, 8);
	put_ids(&row[CREDENTIALS], 0, 0, 8);
	row[BLOCKS] = (struct value){BOOL, 1, {1}};
	put_text(&row[EPOCH], "7400000000000000000/00000001");
}

static struct query_changes changes;

static bool parse_changes(int columns, int rows)
{
	PGresult *result = result_of(row, columns, rows);
	bool good = query_parse_changes(result, &changes);

	PQclear(result);
	return good;
}

static void test_changes(void **state)
{
	(void)state;
	good_changes();
	assert_true(parse_changes(CHANGES_COLUMNS, 1));
	assert_string_equal(changes.cursor, "747:750:747");
	assert_string_equal(changes.epoch, "7400000000000000000/00000001");
	assert_false(changes.everything);
	assert_true(changes.blocks);
	assert_int_equal(changes.account_count, 3);
	assert_int_equal(changes.accounts[2], 5000000002);
	assert_int_equal(changes.credential_count, 0);
	assert_false(parse_changes(CHANGES_COLUMNS, 0));
	assert_false(parse_changes(CHANGES_COLUMNS - 1, 1));
	put_ids(&row[ACCOUNTS], QUERY_CHANGES_MAX, 1, 8);
	row[ACCOUNTS].len = 20 + 12 * QUERY_CHANGES_MAX;
	assert_true(parse_changes(CHANGES_COLUMNS, 1));
	assert_int_equal(changes.accounts[QUERY_CHANGES_MAX - 1], QUERY_CHANGES_MAX);
}

static void test_hostile_changes_are_no_answer(void **state)
{
	(void)state;
	for (int i = 0; i < CHANGES_COLUMNS; i++) {
		good_changes();
		row[i].len = -1;
		assert_false(parse_changes(CHANGES_COLUMNS, 1));
		good_changes();
		row[i].type = INT4;
		assert_false(parse_changes(CHANGES_COLUMNS, 1));
	}
	for (int cut = 0; cut < 56; cut++) {
		good_changes();
		row[ACCOUNTS].len = cut;
		assert_false(parse_changes(CHANGES_COLUMNS, 1));
	}
	static const struct {
		int32_t count, len;
		int64_t first;
	} ids[] = {{QUERY_CHANGES_MAX + 1, 8, 1}, {-1, 8, 1}, {2, 4, 1}, {2, -1, 1}, {2, 8, 0},
		{2, 8, -1}};
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		good_changes();
		put_ids(&row[CREDENTIALS], ids[i].count, ids[i].first, ids[i].len);
		assert_false(parse_changes(CHANGES_COLUMNS, 1));
	}
	good_changes();
	row[CURSOR].bytes[2] = '\0';
	assert_false(parse_changes(CHANGES_COLUMNS, 1));
	good_changes();
	memset(row[CURSOR].bytes, '1', QUERY_CURSOR_MAX + 1);
	row[CURSOR].len = QUERY_CURSOR_MAX;
	assert_true(parse_changes(CHANGES_COLUMNS, 1));
	row[CURSOR].len = QUERY_CURSOR_MAX + 1;
	assert_false(parse_changes(CHANGES_COLUMNS, 1));
}

/* --------------------------------------------------------------- credentials */
enum {
	C_NUMBER,
	C_ACCOUNT,
	C_VERSION,
	C_KEY_ID,
	C_HASH,
	C_ENABLED,
	C_EXPIRES,
	C_NETWORKS,
	C_SENDERS,
	C_COLUMNS,
};

static void good_credential(void)
{
	memset(row, 0, sizeof row);
	put_number(&row[C_NUMBER], INT8, 33);
	put_number(&row[C_ACCOUNT], INT8, 42);
	put_number(&row[C_VERSION], INT8, 7);
	put_text(&row[C_KEY_ID], "00112233445566aa");
	row[C_HASH] = (struct value){BYTEA, CREDENTIAL_HASH_BYTES, {1, 2, 3}};
	row[C_ENABLED] = (struct value){BOOL, 1, {1}};
	put_number(&row[C_EXPIRES], INT8, 4070908800);
	put_array(&row[C_NETWORKS], 2, "192.0.2.0/24", 12);
	put_array(&row[C_SENDERS], 2, "d:example.org", 13);
}

static enum query_answer parse_credential(int columns, int rows, struct credential **credential)
{
	PGresult *result = result_of(row, columns, rows);
	enum query_answer answer = query_parse_credential(result, credential);

	PQclear(result);
	return answer;
}

static void test_a_good_credential(void **state)
{
	struct credential *credential;

	(void)state;
	good_credential();
	assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_ROW);
	assert_int_equal(credential->number, 33);
	assert_int_equal(credential->account, 42);
	assert_string_equal(credential->key_id, "00112233445566aa");
	assert_int_equal(credential->hash[2], 3);
	assert_true(credential->enabled);
	assert_int_equal(credential->expires_s, 4070908800);
	assert_int_equal(credential->network_count, 2);
	assert_int_equal(credential->networks[1].bits, 96 + 24);
	assert_true(credential_may_send(credential, (const uint8_t *)"a@example.org", 13));
	assert_false(credential_may_send(credential, (const uint8_t *)"a@example.net", 13));
	credential_destroy(&credential);
	put_array(&row[C_NETWORKS], 0, "", 0);
	put_array(&row[C_SENDERS], 0, "", 0);
	assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_ROW);
	assert_int_equal(credential->network_count, 0);
	assert_true(credential_may_send(credential, (const uint8_t *)"a@example.net", 13));
	credential_destroy(&credential);
	assert_int_equal(parse_credential(C_COLUMNS, 0, &credential), QUERY_NO_ROW);
	assert_null(credential);
}

/* A row that cannot be read is an outage: what bound it must not be lost. */
static void test_hostile_credentials(void **state)
{
	struct credential *credential;

	(void)state;
	for (int column = 0; column < C_COLUMNS; column++) {
		good_credential();
		row[column].len = -1;
		bool may_be_null = column == C_EXPIRES;
		assert_int_equal(parse_credential(C_COLUMNS, 1, &credential),
			may_be_null ? QUERY_ROW : QUERY_BAD);
		credential_destroy(&credential);
		good_credential();
		row[column].len--;
		if (column != C_KEY_ID)
			assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_BAD);
		credential_destroy(&credential);
		good_credential();
		row[column].type = INT4;
		assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_BAD);
	}
	static const char *const networks[] = {
		"192.0.2.1/24", "192.0.2.0/33", "10", "", "::/0 ", "example.org"};
	for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
		good_credential();
		put_array(&row[C_NETWORKS], 1, networks[i], (int32_t)strlen(networks[i]));
		assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_BAD);
	}
	good_credential();
	put_array(&row[C_NETWORKS], CREDENTIAL_NETWORKS_MAX + 1, "192.0.2.0/24", 12);
	assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_BAD);
	good_credential();
	put_array(&row[C_NETWORKS], 1, "::\0", 3);
	assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_BAD);
	static const int64_t numbers[] = {0, -1, INT64_C(1) << 60};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		good_credential();
		put_number(&row[C_NUMBER], INT8, numbers[i]);
		assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_BAD);
	}
	good_credential();
	put_text(&row[C_KEY_ID], "00112233445566aab");
	assert_int_equal(parse_credential(C_COLUMNS, 1, &credential), QUERY_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_good_row),
		cmocka_unit_test(test_what_may_be_null),
		cmocka_unit_test(test_what_limits_may_not_be),
		cmocka_unit_test(test_every_policy_of_from),
		cmocka_unit_test(test_every_octet_of_a_token),
		cmocka_unit_test(test_the_longest_token),
		cmocka_unit_test(test_an_overlong_hash_is_the_accounts_trouble),
		cmocka_unit_test(test_hostile_rows),
		cmocka_unit_test(test_hostile_shapes),
		cmocka_unit_test(test_every_truncation_of_the_array),
		cmocka_unit_test(test_a_lease),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_hostile_limits),
		cmocka_unit_test(test_holds),
		cmocka_unit_test(test_contract_and_bool),
		cmocka_unit_test(test_the_table_is_whole),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_hostile_changes_are_no_answer),
		cmocka_unit_test(test_a_good_credential),
		cmocka_unit_test(test_hostile_credentials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
