/* SPDX-License-Identifier: ISC */
/* The map from id to pointer. */
#include "common/idmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MANY = 20000 };

static char values[MANY];

/* Neighbours, far apart, and both ends: what sessions and transactions may be called. */
static uint64_t id_of(size_t i)
{
	return i % 2 == 0 ? (uint64_t)i + 1
			  : UINT64_MAX - (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15);
}

static struct idmap *filled(void)
{
	struct idmap *map = idmap_new();

	assert_non_null(map);
	for (size_t i = 0; i < MANY; i++)
		assert_true(idmap_put(map, id_of(i), &values[i]));
	return map;
}

static void test_empty(void **state)
{
	struct idmap *map = idmap_new();

	(void)state;
	assert_non_null(map);
	assert_int_equal(idmap_count(map), 0);
	assert_null(idmap_get(map, 1));
	assert_null(idmap_take(map, 1));
	idmap_destroy(&map);
	assert_null(map);
	idmap_destroy(&map); /* NULL is allowed */
}

static void test_each_id_finds_its_value(void **state)
{
	struct idmap *map = filled();

	(void)state;
	assert_int_equal(idmap_count(map), MANY);
	for (size_t i = 0; i < MANY; i++)
		assert_ptr_equal(idmap_get(map, id_of(i)), &values[i]);
	assert_null(idmap_get(map, 0));
	idmap_destroy(&map);
}

static void test_what_was_taken_is_gone(void **state)
{
	struct idmap *map = filled();

	(void)state;
	for (size_t i = 0; i < MANY; i += 3)
		assert_ptr_equal(idmap_take(map, id_of(i)), &values[i]);
	for (size_t i = 0; i < MANY; i++) {
		assert_ptr_equal(idmap_get(map, id_of(i)), i % 3 == 0 ? NULL : &values[i]);
		if (i % 3 == 0)
			assert_null(idmap_take(map, id_of(i)));
	}
	assert_int_equal(idmap_count(map), MANY - (MANY + 2) / 3);
	idmap_destroy(&map);
}

static void test_an_id_may_come_again(void **state)
{
	struct idmap *map = idmap_new();

	(void)state;
	assert_non_null(map);
	assert_true(idmap_put(map, 5, &values[0]));
	assert_ptr_equal(idmap_take(map, 5), &values[0]);
	assert_true(idmap_put(map, 5, &values[1]));
	assert_ptr_equal(idmap_get(map, 5), &values[1]);
	assert_int_equal(idmap_count(map), 1);
	idmap_destroy(&map);
}

struct visit {
	struct idmap *map;
	char seen[MANY];
};

static void mark(uint64_t id, void *value, void *arg)
{
	struct visit *visit = arg;
	size_t i = (size_t)((char *)value - values);

	assert_true(id == id_of(i));
	visit->seen[i]++;
}

static void mark_and_take(uint64_t id, void *value, void *arg)
{
	struct visit *visit = arg;

	mark(id, value, arg);
	assert_ptr_equal(idmap_take(visit->map, id), value);
}

static void test_each_calls_all_once(void **state)
{
	static struct visit visit;

	(void)state;
	visit = (struct visit){.map = filled()};
	idmap_each(visit.map, mark, &visit);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(visit.seen[i], 1);
	assert_int_equal(idmap_count(visit.map), MANY);
	idmap_each(visit.map, mark_and_take, &visit);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(visit.seen[i], 2);
	assert_int_equal(idmap_count(visit.map), 0);
	idmap_destroy(&visit.map);
}

/* Two sessions of one id would get each other's answers: a programmer's error ends the process. */
static void test_the_same_id_twice_aborts(void **state)
{
	int status;

	(void)state;
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		struct idmap *map = idmap_new();
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		(void)close(STDERR_FILENO);
		_exit(map != NULL && idmap_put(map, 1, values) && idmap_put(map, 1, values));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_each_id_finds_its_value),
		cmocka_unit_test(test_what_was_taken_is_gone),
		cmocka_unit_test(test_an_id_may_come_again),
		cmocka_unit_test(test_each_calls_all_once),
		cmocka_unit_test(test_the_same_id_twice_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
