/* SPDX-License-Identifier: ISC */
/* The slab of secrets, and the allocators that wipe what they free. */
#include "common/secret.h"

#include "common/log.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLOTS = 7 };

static const char password[] = "correct horse battery staple";

/*
 * The wipe of the block at hand, seen by an explicit_bzero() of this program.  Not by a free() of
 * its own: sanitizers and valgrind have theirs.
 */
static struct {
	const void *block;
	size_t wiped; /* octets from its start */
} watch;

static void wipe(void *memory, size_t len)
{
	volatile uint8_t *octets = memory;

	for (size_t i = 0; i < len; i++)
		octets[i] = 0;
	if (memory == watch.block)
		watch.wiped = len;
}

void explicit_bzero(void *memory, size_t len)
{
	wipe(memory, len);
}

/* What a build with _FORTIFY_SOURCE calls. */
void __explicit_bzero_chk(void *memory, size_t len, size_t room);
void __explicit_bzero_chk(void *memory, size_t len, size_t room)
{
	assert_true(len <= room);
	wipe(memory, len);
}

static void watch_block(const void *memory)
{
	watch.block = memory;
	watch.wiped = 0;
}

static bool all_zero(const void *memory, size_t len)
{
	return sodium_is_zero(memory, len) == 1;
}

/* ------------------------------------------------------------------- slab */
static int open_slab(void **state)
{
	(void)state;
	return secret_slab_open(SLOTS) ? 0 : -1;
}

static int close_slab(void **state)
{
	(void)state;
	secret_slab_close();
	return 0;
}

static void fill(struct secret *secret)
{
	memset(secret->bytes, 'x', sizeof secret->bytes);
	memcpy(secret->bytes, password, sizeof password);
	secret->len = sizeof secret->bytes;
}

static void test_slots_are_apart_clean_and_finite(void **state)
{
	struct secret *taken[SLOTS];

	(void)state;
	for (size_t i = 0; i < SLOTS; i++) {
		taken[i] = secret_take();
		assert_non_null(taken[i]);
		assert_int_equal(taken[i]->len, 0);
		assert_true(all_zero(taken[i]->bytes, sizeof taken[i]->bytes));
		for (size_t j = 0; j < i; j++)
			assert_true(taken[i] + 1 <= taken[j] || taken[j] + 1 <= taken[i]);
		fill(taken[i]);
		assert_int_equal(secret_in_use(), i + 1);
	}
	assert_null(secret_take());
	for (size_t i = 0; i < SLOTS; i++)
		secret_release(&taken[i]);
	assert_int_equal(secret_in_use(), 0);
}

static void test_release_wipes_and_forgets(void **state)
{
	struct secret *secret = secret_take();

	(void)state;
	assert_non_null(secret);
	fill(secret);
	const struct secret *was = secret; /* the slab stays mapped */
	secret_release(&secret);
	assert_null(secret);
	assert_int_equal(was->len, 0);
	assert_true(all_zero(was->bytes, sizeof was->bytes));
	secret_release(&secret); /* NULL is allowed */
	assert_int_equal(secret_in_use(), 0);
}

static void test_a_slot_serves_for_ever(void **state)
{
	(void)state;
	for (size_t i = 0; i < 1000; i++) {
		struct secret *a = secret_take(), *b = secret_take();
		assert_non_null(a);
		assert_non_null(b);
		secret_release(&a);
		fill(b);
		secret_release(&b);
	}
	assert_int_equal(secret_in_use(), 0);
}

static void test_a_whole_plain_message_fits(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct secret), SECRET_SLOT_BYTES);
	assert_true(sizeof((struct secret *)NULL)->bytes >= SECRET_BYTES_MAX);
}

/* Runs f in a child; the wait status. */
static int in_child(void (*f)(void))
{
	int status;
	pid_t pid = fork();

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		(void)signal(SIGSEGV, SIG_DFL); /* cmocka would go on with the next test */
		(void)dup2(null, STDERR_FILENO);
		f();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void release_foreign(void)
{
	static struct secret foreign;
	struct secret *secret = &foreign;

	secret_release(&secret);
}

static void release_twice(void)
{
	struct secret *secret = secret_take(), *again = secret;

	secret_release(&secret);
	secret_release(&again);
}

static void write_past_the_slab(void)
{
	struct secret *taken[SLOTS], *last = NULL;

	for (size_t i = 0; i < SLOTS; i++) {
		taken[i] = secret_take();
		last = taken[i] > last ? taken[i] : last;
	}
	*(volatile uint8_t *)(last + 1) = 1;
}

static void test_misuse_ends_the_process(void **state)
{
	static const struct {
		const char *name;
		void (*f)(void);
		int signal;
	} cases[] = {{"foreign", release_foreign, SIGABRT}, {"twice", release_twice, SIGABRT},
		{"past the slab", write_past_the_slab, SIGSEGV}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int status = in_child(cases[i].f);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != cases[i].signal)
			fail_msg("%s: got status %x, want signal %d", cases[i].name, status,
				cases[i].signal);
	}
}

/* ------------------------------------------------------------- allocators */
static void test_libevent_wipes_a_buffer(void **state)
{
	struct evbuffer *buffer = evbuffer_new();

	(void)state;
	assert_non_null(buffer);
	assert_int_equal(evbuffer_add(buffer, password, sizeof password), 0);
	/* A chain's block: its head, then the octets.  The head is what free() gets. */
	const uint8_t *octets = evbuffer_pullup(buffer, -1);
	assert_memory_equal(octets, password, sizeof password);
	struct evbuffer_ptr at;
	assert_int_equal(evbuffer_ptr_set(buffer, &at, 0, EVBUFFER_PTR_SET), 0);
	size_t end = (size_t)(octets - (const uint8_t *)at.internal_.chain) + sizeof password;
	watch_block(at.internal_.chain);
	evbuffer_free(buffer);
	assert_true(watch.wiped >= end);
}

static void test_openssl_wipes_what_it_frees(void **state)
{
	char *memory = OPENSSL_malloc(sizeof password);

	(void)state;
	assert_non_null(memory);
	memcpy(memory, password, sizeof password);
	watch_block(memory);
	OPENSSL_free(memory);
	assert_true(watch.wiped >= sizeof password);
}

static void test_realloc_moves_and_wipes(void **state)
{
	static const struct {
		const char *name;
		size_t from, to;
	} cases[] = {{"grows", 64, 4096}, {"shrinks much", 65536, 64},
		{"shrinks to half", 4096, 2048}, {"grows by little", 64, 65}, {"the same", 64, 64}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *memory = OPENSSL_malloc(cases[i].from);
		assert_non_null(memory);
		memset(memory, 'x', cases[i].from);
		memcpy(memory, password, sizeof password);
		watch_block(memory);
		char *moved = OPENSSL_realloc(memory, cases[i].to);
		assert_non_null(moved);
		assert_memory_equal(moved, password, sizeof password);
		if (moved != watch.block && watch.wiped < cases[i].from)
			fail_msg("%s: got an old block with its secret, want it wiped",
				cases[i].name);
		moved[cases[i].to - 1] = 1; /* the block is as large as asked for */
		watch_block(moved);
		OPENSSL_free(moved);
		assert_true(watch.wiped >= cases[i].to);
	}
}

static void test_realloc_of_nothing_allocates(void **state)
{
	char *memory = OPENSSL_realloc(NULL, 100);

	(void)state;
	assert_non_null(memory);
	memset(memory, 1, 100);
	OPENSSL_free(memory);
	OPENSSL_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_slots_are_apart_clean_and_finite, open_slab, close_slab),
		cmocka_unit_test_setup_teardown(
			test_release_wipes_and_forgets, open_slab, close_slab),
		cmocka_unit_test_setup_teardown(test_a_slot_serves_for_ever, open_slab, close_slab),
		cmocka_unit_test(test_a_whole_plain_message_fits),
		cmocka_unit_test_setup_teardown(
			test_misuse_ends_the_process, open_slab, close_slab),
		cmocka_unit_test(test_libevent_wipes_a_buffer),
		cmocka_unit_test(test_openssl_wipes_what_it_frees),
		cmocka_unit_test(test_realloc_moves_and_wipes),
		cmocka_unit_test(test_realloc_of_nothing_allocates),
	};

	/* Before anything else: both libraries take other allocators only once. */
	secret_wipe_openssl();
	secret_wipe_libevent();
	if (sodium_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
