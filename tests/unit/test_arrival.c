/* SPDX-License-Identifier: ISC */
/*
 * Connections that have to tell whose they are: what is taken from the socket and what stays in it,
 * whom nobody asks, and how those end that tell nothing.
 */
#include "common/config.h"
#include "common/counters.h"
#include "common/log.h"
#include "proxy/arrival.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define V1 "PROXY TCP4 203.0.113.9 198.51.100.2 51234 465\r\n"
#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define V2_TCP6                                     \
	V2 "\x21\x21\0\x27"                         \
	   "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0" \
	   "\x09\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0" \
	   "\0\0\x02\xc8\x22\x01\xd1\x04\0\0"
#define V2_LOCAL V2 "\x20\0\0\0"

static struct event_base *base;
static struct counters page;
static char name[] = "behind";
static struct config_listen listen_on = {.name = name};
static struct address balancer;

static struct {
	unsigned count;
	int fd;
	char client[ADDRESS_TEXT_MAX], via[ADDRESS_TEXT_MAX];
} told;

static void on_told(int fd, const struct config_listen *listen, const struct address *client,
	const struct address *via, void *arg)
{
	assert_ptr_equal(listen, &listen_on);
	assert_ptr_equal(arg, &told);
	told.count++;
	told.fd = fd;
	address_format(client, told.client);
	if (via != NULL)
		address_format(via, told.via);
}

static uint64_t refused(void)
{
	return counter_read(&page, COUNTER_PROXY_REFUSED);
}

static struct arrivals *make(unsigned deadline_ms)
{
	struct arrivals *arrivals = arrivals_new(base, deadline_ms, on_told, &told);

	assert_non_null(arrivals);
	memset(&told, 0, sizeof told);
	told.fd = -1;
	return arrivals;
}

static int arrive(struct arrivals *arrivals, const struct address *peer)
{
	int fds[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	arrivals_add(arrivals, fds[0], peer, &listen_on);
	return fds[1];
}

static void send_all(int fd, const char *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

/* The other side was closed, and said nothing before. */
static void check_closed(int fd)
{
	char octet;
	ssize_t n = recv(fd, &octet, 1, 0);

	if (n != 0 && !(n == -1 && errno == ECONNRESET))
		fail_msg("not closed: recv gives %zd", n);
	close(fd);
}

static void check_rest(const char *want)
{
	char rest[100];
	ssize_t n = recv(told.fd, rest, sizeof rest, 0);

	if (*want == '\0')
		assert_true(n == -1 && errno == EAGAIN);
	else
		assert_true(n == (ssize_t)strlen(want) && memcmp(rest, want, (size_t)n) == 0);
	close(told.fd);
}

static void check_told(const char *client, const char *via)
{
	assert_int_equal(told.count, 1);
	assert_string_equal(told.client, client);
	assert_string_equal(told.via, via);
}

/* However the header comes, with what is the client's own behind it in the same segment. */
static void check_every_split(const char *header, size_t len, const char *client, const char *via)
{
	static const char hello[] = "\x16\x03\x01 hello";
	char all[200];

	assert_true(len + strlen(hello) < sizeof all);
	memcpy(all, header, len);
	memcpy(all + len, hello, strlen(hello));
	for (size_t at = 0; at < len; at++) {
		struct arrivals *arrivals = make(60000);
		int fd = arrive(arrivals, &balancer);

		send_all(fd, all, at);
		turn();
		assert_int_equal(told.count, 0);
		assert_int_equal(arrivals_count(arrivals), 1);
		send_all(fd, all + at, len + strlen(hello) - at);
		turn();
		check_told(client, via);
		assert_int_equal(arrivals_count(arrivals), 0);
		check_rest(hello);
		close(fd);
		arrivals_free(&arrivals);
	}
}

static void test_what_follows_stays_in_the_socket(void **state)
{
	(void)state;
	check_every_split(V1, sizeof V1 - 1, "203.0.113.9:51234", "192.0.2.1:40000");
	check_every_split(V2_TCP6, sizeof V2_TCP6 - 1, "[2001:db8::9]:51234", "192.0.2.1:40000");
}

static void test_who_is_not_told_is_the_peer(void **state)
{
	(void)state;
	check_every_split(V2_LOCAL, sizeof V2_LOCAL - 1, "192.0.2.1:40000", "");
	check_every_split("PROXY UNKNOWN\r\n", 15, "192.0.2.1:40000", "");
}

static void test_octet_by_octet(void **state)
{
	struct arrivals *arrivals = make(60000);
	int fd = arrive(arrivals, &balancer);

	(void)state;
	for (size_t i = 0; i < sizeof V1 - 1; i++) {
		assert_int_equal(told.count, 0);
		send_all(fd, V1 + i, 1);
		turn();
		turn(); /* what was taken is not told of again */
	}
	check_told("203.0.113.9:51234", "192.0.2.1:40000");
	check_rest("");
	close(fd);
	arrivals_free(&arrivals);
}

static void test_nobody_else_is_asked(void **state)
{
	static const char *const others[] = {"192.0.3.1:40000", "[2001:db8::1]:40000"};
	struct arrivals *arrivals = make(60000);
	struct address peer;

	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		uint64_t before = refused();
		assert_true(address_parse(others[i], -1, &peer));
		check_closed(arrive(arrivals, &peer));
		assert_int_equal(arrivals_count(arrivals), 0);
		assert_int_equal(refused(), before + 1);
	}
	assert_int_equal(told.count, 0);
	arrivals_free(&arrivals);
}

static void test_something_else_is_closed_in_silence(void **state)
{
	static const char *const others[] = {"EHLO me\r\n", "\x16\x03\x01", "P\r\n",
		"PROXY TCP4 203.0.113.9 198.51.100.2 51234 465\n"};
	struct arrivals *arrivals = make(60000);

	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		uint64_t before = refused();
		int fd = arrive(arrivals, &balancer);

		send_all(fd, others[i], strlen(others[i]));
		turn();
		assert_int_equal(arrivals_count(arrivals), 0);
		assert_int_equal(refused(), before + 1);
		check_closed(fd);
	}
	assert_int_equal(told.count, 0);
	arrivals_free(&arrivals);
}

/* Half a header is an error, a mere look at the port is none. */
static void test_who_leaves(void **state)
{
	struct arrivals *arrivals = make(60000);
	uint64_t before = refused();

	(void)state;
	close(arrive(arrivals, &balancer));
	turn();
	assert_int_equal(arrivals_count(arrivals), 0);
	assert_int_equal(refused(), before);
	int fd = arrive(arrivals, &balancer);
	send_all(fd, V1, 10);
	turn();
	close(fd);
	turn();
	assert_int_equal(arrivals_count(arrivals), 0);
	assert_int_equal(refused(), before + 1);
	assert_int_equal(told.count, 0);
	arrivals_free(&arrivals);
}

/* The deadline is the whole header's: an octet now and then moves nothing. */
static void test_deadline(void **state)
{
	struct arrivals *arrivals = make(100);
	int fd = arrive(arrivals, &balancer);
	size_t sent = 0;

	(void)state;
	while (arrivals_count(arrivals) > 0 && sent < 14) {
		const struct timeval soon = {0, 20 * 1000};
		send_all(fd, V1 + sent++, 1);
		event_base_loopexit(base, &soon);
		event_base_dispatch(base);
	}
	assert_int_equal(arrivals_count(arrivals), 0);
	assert_in_range(sent, 2, 13);
	assert_int_equal(told.count, 0);
	check_closed(fd);
	arrivals_free(&arrivals);
}

static void test_the_oldest_make_room(void **state)
{
	struct arrivals *arrivals = make(60000);
	int fds[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		fds[i] = arrive(arrivals, &balancer);
	arrivals_keep(arrivals, 4, "crowded out");
	assert_int_equal(arrivals_count(arrivals), 4);
	arrivals_keep(arrivals, 2, "crowded out");
	assert_int_equal(arrivals_count(arrivals), 2);
	check_closed(fds[0]);
	check_closed(fds[1]);
	send_all(fds[3], V1, sizeof V1 - 1);
	turn();
	check_told("203.0.113.9:51234", "192.0.2.1:40000");
	check_rest("");
	close(fds[3]);
	arrivals_free(&arrivals);
	check_closed(fds[2]);
}

static int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	counters_own(&page);
	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_DEBUG);
	listen_on.proxy_protocol = LISTEN_PROXY_REQUIRED;
	listen_on.proxy_from.count = 1;
	return base != NULL && address_parse("192.0.2.1:40000", -1, &balancer) &&
			       network_parse("192.0.2.0/24", &listen_on.proxy_from.networks[0])
		       ? 0
		       : -1;
}

static int tear_down(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_follows_stays_in_the_socket),
		cmocka_unit_test(test_who_is_not_told_is_the_peer),
		cmocka_unit_test(test_octet_by_octet),
		cmocka_unit_test(test_nobody_else_is_asked),
		cmocka_unit_test(test_something_else_is_closed_in_silence),
		cmocka_unit_test(test_who_leaves),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_the_oldest_make_room),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
