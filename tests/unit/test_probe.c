/* SPDX-License-Identifier: ISC */
/*
 * The probe: its dialogue without sockets (each reply whole, split at every octet, octet by octet),
 * when it comes again, and one attempt over loopback against a server that plays its part.
 */
#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "probe/attempt.h"
#include "probe/dialogue.h"
#include "probe/watch.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST "submit.example.net"

/* ----------------------------------------------------------------- dialogue */
static const struct {
	const char *name;
	const char *replies[4]; /* each is given once the one before was answered */
	const char *said;
	bool up;
	const char *reason;
	unsigned code;
	enum dialogue_state state;
	uint32_t bits;
	uint64_t size;
} cases[] = {
	{"EHLO", {"220 mx\r\n", "250-mx\r\n250-SIZE 1000\r\n250 PIPELINING\r\n", "221 bye\r\n"},
		"EHLO " HOST "\r\nQUIT\r\n", true, "", 250, DIALOGUE_OVER,
		CAPABILITY_EHLO | CAPABILITY_SIZE | CAPABILITY_PIPELINING, 1000},
	{"greeting of two lines", {"220-mx\r\n220 ready\r\n", "250 mx\r\n"},
		"EHLO " HOST "\r\nQUIT\r\n", true, "", 250, DIALOGUE_QUIT, CAPABILITY_EHLO, 0},
	{"HELO", {"220 mx\r\n", "502 what\r\n", "250 mx\r\n", "221 bye\r\n"},
		"EHLO " HOST "\r\nHELO " HOST "\r\nQUIT\r\n", true, "", 250, DIALOGUE_OVER, 0, 0},
	{"any reply to QUIT is the end", {"220 mx\r\n", "250 mx\r\n", "500 no\r\n"},
		"EHLO " HOST "\r\nQUIT\r\n", true, "", 250, DIALOGUE_OVER, CAPABILITY_EHLO, 0},
	{"rubbish after QUIT changes nothing", {"220 mx\r\n", "250 mx\r\n", "x"},
		"EHLO " HOST "\r\nQUIT\r\n", true, "", 250, DIALOGUE_OVER, CAPABILITY_EHLO, 0},
	{"greeting 554", {"554 go away\r\n"}, "QUIT\r\n", false, "greeting refused", 554,
		DIALOGUE_QUIT, 0, 0},
	{"greeting 421", {"421 later\r\n"}, "QUIT\r\n", false, "greeting refused", 421,
		DIALOGUE_QUIT, 0, 0},
	{"greeting 221", {"221 bye\r\n"}, "QUIT\r\n", false, "greeting refused", 221, DIALOGUE_QUIT,
		0, 0},
	{"EHLO 421", {"220 mx\r\n", "421 later\r\n"}, "EHLO " HOST "\r\nQUIT\r\n", false,
		"EHLO refused", 421, DIALOGUE_QUIT, 0, 0},
	{"EHLO 220", {"220 mx\r\n", "220 mx\r\n"}, "EHLO " HOST "\r\nQUIT\r\n", false,
		"EHLO refused", 220, DIALOGUE_QUIT, 0, 0},
	{"HELO 550", {"220 mx\r\n", "550 no\r\n", "550 no\r\n"},
		"EHLO " HOST "\r\nHELO " HOST "\r\nQUIT\r\n", false, "HELO refused", 550,
		DIALOGUE_QUIT, 0, 0},
	{"another protocol", {"HTTP/1.1 400\r\n"}, "", false, "no reply code", 0, DIALOGUE_OVER, 0,
		0},
	{"bare LF", {"220 mx\n"}, "", false, "bare LF", 0, DIALOGUE_OVER, 0, 0},
	{"bad EHLO", {"220 mx\r\n", "250-a\r\n251 b\r\n"}, "EHLO " HOST "\r\n", false,
		"code changes between lines", 0, DIALOGUE_OVER, 0, 0},
	{"half a greeting", {"220 m"}, "", false, "", 0, DIALOGUE_GREETING, 0, 0},
};

/* Gives one reply in two parts (at), or octet by octet (at == SIZE_MAX). */
static void give(struct dialogue *dialogue, const char *reply, size_t at, char *said)
{
	size_t len = strlen(reply), done = 0;
	char out[DIALOGUE_LINE_MAX];

	while (done < len) {
		size_t part = at == SIZE_MAX ? 1 : done < at ? at - done : len - done;
		if (part > len - done)
			part = len - done;
		size_t n = dialogue_take(dialogue, reply + done, part, out);
		assert_true(n < sizeof out);
		strncat(said, out, n);
		done += part;
	}
}

static void play(size_t i, size_t at)
{
	struct dialogue dialogue;
	char said[1024] = "";

	dialogue_begin(&dialogue, HOST);
	for (size_t r = 0; r < 4 && cases[i].replies[r] != NULL; r++)
		give(&dialogue, cases[i].replies[r], at, said);
	if (strcmp(said, cases[i].said) != 0)
		fail_msg("%s: said '%s', want '%s'", cases[i].name, said, cases[i].said);
	if (dialogue.state != cases[i].state)
		fail_msg("%s: state %d, want %d", cases[i].name, (int)dialogue.state,
			(int)cases[i].state);
	if (dialogue.up != cases[i].up || strcmp(dialogue.reason, cases[i].reason) != 0 ||
		dialogue.code != cases[i].code)
		fail_msg("%s: got up %d '%s' %u, want up %d '%s' %u", cases[i].name, dialogue.up,
			dialogue.reason, dialogue.code, cases[i].up, cases[i].reason,
			cases[i].code);
	if (dialogue.capabilities.bits != cases[i].bits ||
		dialogue.capabilities.size != cases[i].size)
		fail_msg("%s: got %x, want %x", cases[i].name, dialogue.capabilities.bits,
			cases[i].bits);
	dialogue_end(&dialogue);
}

static void test_dialogue(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (size_t at = 0; at < 60; at++)
			play(i, at);
		play(i, SIZE_MAX);
	}
}

static void test_unsolicited_reply_fails(void **state)
{
	struct dialogue dialogue;
	char out[DIALOGUE_LINE_MAX];

	(void)state;
	dialogue_begin(&dialogue, HOST);
	assert_int_equal(dialogue_take(&dialogue, "220 a\r\n250 b\r\n", 14, out), 0);
	assert_int_equal(dialogue.state, DIALOGUE_OVER);
	assert_false(dialogue.up);
	assert_string_equal(dialogue.reason, "unsolicited reply");
	dialogue_end(&dialogue);
}

static void test_verdict_survives_a_failure(void **state)
{
	struct dialogue dialogue;
	char said[1024] = "";

	(void)state;
	dialogue_begin(&dialogue, HOST);
	give(&dialogue, "220 a\r\n", 0, said);
	assert_string_equal(dialogue_timeout_reason(&dialogue), "EHLO timeout");
	give(&dialogue, "250 a\r\n", 0, said);
	dialogue_fail(&dialogue, "closed");
	assert_true(dialogue.up);
	assert_string_equal(dialogue.reason, "");
	assert_int_equal(dialogue.state, DIALOGUE_OVER);
	dialogue_end(&dialogue);
}

static void test_longest_hostname_fits(void **state)
{
	struct dialogue dialogue;
	char host[254], out[DIALOGUE_LINE_MAX];

	(void)state;
	memset(host, 'a', sizeof host - 1);
	host[253] = '\0';
	dialogue_begin(&dialogue, host);
	assert_int_equal(dialogue_take(&dialogue, "220 a\r\n", 7, out), 5 + 253 + 2);
	assert_memory_equal(out + 258, "\r\n", 2);
	dialogue_end(&dialogue);
}

static void test_delay(void **state)
{
	(void)state;
	for (uint64_t random = 0; random < 30000; random += 7) {
		unsigned up = watch_delay_ms(60000, true, random);
		unsigned down = watch_delay_ms(60000, false, random);
		assert_in_range(up, 54000, 66000);
		assert_in_range(down, 4500, 5500);
		assert_in_range(watch_delay_ms(1000, false, random), 900, 1100);
	}
	assert_int_equal(watch_delay_ms(60000, true, 0), 54000);
	assert_int_equal(watch_delay_ms(60000, true, 12000), 66000);
	assert_in_range(watch_delay_ms(5, true, UINT64_MAX), 5, 5);
}

/* ------------------------------------------------------------------ attempt */
/* A server in the same loop: one connection, sends replies[i] after the i-th thing it hears. */
struct fake {
	struct event_base *base;
	int listener, peer;
	struct event *accepting, *hearing;
	const char *const *replies;
	size_t next;
	char heard[512];
	size_t heard_len;
	struct sockaddr_storage client;
};

struct outcome {
	struct event_base *base;
	struct attempt *attempt;
	struct attempt_verdict verdict;
	char reason[64];
	int verdicts, overs;
	bool destroy_at_verdict;
};

static void fake_say(struct fake *fake)
{
	const char *reply = fake->replies[fake->next];

	if (reply == NULL)
		return;
	fake->next++;
	if (*reply == '\0') {
		event_del(fake->hearing);
		close(fake->peer);
		fake->peer = -1;
		return;
	}
	assert_int_equal(write(fake->peer, reply, strlen(reply)), strlen(reply));
}

static void on_heard(evutil_socket_t fd, short what, void *arg)
{
	struct fake *fake = arg;
	ssize_t n =
		read(fd, fake->heard + fake->heard_len, sizeof fake->heard - 1 - fake->heard_len);

	(void)what;
	if (n <= 0) {
		event_del(fake->hearing);
		return;
	}
	fake->heard_len += (size_t)n;
	if (fake->heard[fake->heard_len - 1] == '\n')
		fake_say(fake);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct fake *fake = arg;
	socklen_t len = sizeof fake->client;

	(void)what;
	fake->peer = accept(fd, (struct sockaddr *)&fake->client, &len);
	assert_int_not_equal(fake->peer, -1);
	fake->hearing = event_new(fake->base, fake->peer, EV_READ | EV_PERSIST, on_heard, fake);
	assert_non_null(fake->hearing);
	event_add(fake->hearing, NULL);
	fake_say(fake);
}

static void fake_start(struct fake *fake, struct event_base *base, const char *const *replies,
	struct address *address_out)
{
	socklen_t len = sizeof address_out->v4;

	*fake = (struct fake){.base = base, .peer = -1, .replies = replies};
	assert_true(address_parse("127.0.0.1", 0, address_out));
	fake->listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fake->listener, &address_out->sa, address_out->len), 0);
	assert_int_equal(listen(fake->listener, 1), 0);
	assert_int_equal(getsockname(fake->listener, &address_out->sa, &len), 0);
	fake->accepting = event_new(base, fake->listener, EV_READ, on_accept, fake);
	assert_non_null(fake->accepting);
	event_add(fake->accepting, NULL);
}

static void fake_stop(struct fake *fake)
{
	event_free(fake->accepting);
	if (fake->hearing != NULL)
		event_free(fake->hearing);
	close(fake->listener);
	if (fake->peer != -1)
		close(fake->peer);
}

static void on_verdict(const struct attempt_verdict *verdict, void *arg)
{
	struct outcome *outcome = arg;

	assert_non_null(outcome->attempt);
	outcome->verdict = *verdict;
	snprintf(outcome->reason, sizeof outcome->reason, "%s", verdict->reason);
	outcome->verdicts++;
	if (!outcome->destroy_at_verdict)
		return;
	attempt_destroy(&outcome->attempt);
	event_base_loopexit(outcome->base, NULL);
}

static void on_over(void *arg)
{
	struct outcome *outcome = arg;

	outcome->overs++;
	attempt_destroy(&outcome->attempt);
	event_base_loopexit(outcome->base, NULL);
}

/* Runs one attempt against the replies; at most ten seconds. */
static void run_attempt(const char *const *replies, const struct config_backend *like,
	struct outcome *outcome, struct fake *fake)
{
	static const struct timeval limit = {10, 0};
	struct config_backend backend = *like;
	struct config config = {.hostname = (char[]){HOST}};
	struct event_base *base = event_base_new();

	assert_non_null(base);
	fake_start(fake, base, replies, &backend.servers[0]);
	outcome->base = base;
	outcome->attempt = attempt_start(base, &config, &backend, 0, on_verdict, on_over, outcome);
	assert_non_null(outcome->attempt);
	assert_int_equal(outcome->verdicts, 0);
	event_base_loopexit(base, &limit);
	event_base_dispatch(base);
	assert_int_equal(outcome->verdicts, 1);
	assert_int_equal(outcome->overs, outcome->destroy_at_verdict ? 0 : 1);
	assert_null(outcome->attempt);
	fake_stop(fake);
	event_base_free(base);
}

static const struct config_backend patient = {
	.server_count = 1, .connect_ms = 9000, .greeting_ms = 9000, .command_ms = 9000};

static void test_attempt_learns_capabilities(void **state)
{
	static const char *const replies[] = {
		"220 mx\r\n", "250-mx\r\n250-DSN\r\n250 SIZE 5\r\n", "221 bye\r\n", NULL};
	struct outcome outcome = {0};
	struct fake fake;

	(void)state;
	run_attempt(replies, &patient, &outcome, &fake);
	assert_true(outcome.verdict.up);
	assert_int_equal(outcome.verdict.capabilities.bits,
		CAPABILITY_EHLO | CAPABILITY_DSN | CAPABILITY_SIZE);
	assert_string_equal(fake.heard, "EHLO " HOST "\r\nQUIT\r\n");
}

static void test_attempt_comes_from_the_source(void **state)
{
	static const char *const replies[] = {"220 mx\r\n", "250 mx\r\n", "221 bye\r\n", NULL};
	struct config_backend backend = patient;
	struct outcome outcome = {0};
	struct fake fake;
	struct address client;
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	assert_true(address_parse("127.0.0.77", 0, &backend.source4));
	run_attempt(replies, &backend, &outcome, &fake);
	assert_true(outcome.verdict.up);
	assert_true(address_from_sockaddr(
		(struct sockaddr *)&fake.client, sizeof fake.client, &client));
	assert_string_equal(address_format_host(&client, text), "127.0.0.77");
}

static void test_attempt_with_an_impossible_source(void **state)
{
	static const char *const replies[] = {NULL};
	struct config_backend backend = patient;
	struct outcome outcome = {0};
	struct fake fake;

	(void)state;
	assert_true(address_parse("192.0.2.77", 0, &backend.source4));
	run_attempt(replies, &backend, &outcome, &fake);
	assert_false(outcome.verdict.up);
	assert_string_equal(outcome.reason, "Cannot assign requested address");
}

static void test_attempt_refused(void **state)
{
	struct outcome outcome = {0};
	struct fake fake;

	(void)state;
	run_attempt((const char *const[]){"", NULL}, &patient, &outcome, &fake);
	assert_string_equal(outcome.reason, "closed");
	outcome = (struct outcome){0};
	run_attempt((const char *const[]){"554 no\r\n", "221 bye\r\n", NULL}, &patient, &outcome,
		&fake);
	assert_string_equal(outcome.reason, "greeting refused");
	assert_int_equal(outcome.verdict.code, 554);
	assert_string_equal(fake.heard, "QUIT\r\n");
	outcome = (struct outcome){0};
	run_attempt((const char *const[]){"220 mx\r\n", "", NULL}, &patient, &outcome, &fake);
	assert_string_equal(outcome.reason, "closed");
}

static void test_attempt_gives_up_in_time(void **state)
{
	struct config_backend hasty = patient;
	struct outcome outcome = {0};
	struct fake fake;

	(void)state;
	hasty.greeting_ms = 30;
	uint64_t begin = clock_monotonic_ms();
	run_attempt((const char *const[]){NULL}, &hasty, &outcome, &fake);
	assert_string_equal(outcome.reason, "greeting timeout");
	hasty.greeting_ms = 9000;
	hasty.command_ms = 30;
	outcome = (struct outcome){0};
	run_attempt((const char *const[]){"220 mx\r\n", NULL}, &hasty, &outcome, &fake);
	assert_string_equal(outcome.reason, "EHLO timeout");
	assert_true(clock_monotonic_ms() - begin < 8000);
}

static void test_attempt_may_be_destroyed_at_its_verdict(void **state)
{
	struct outcome outcome = {.destroy_at_verdict = true};
	struct fake fake;

	(void)state;
	run_attempt(
		(const char *const[]){"220 mx\r\n", "250 mx\r\n", NULL}, &patient, &outcome, &fake);
	assert_true(outcome.verdict.up);
	outcome = (struct outcome){.destroy_at_verdict = true};
	run_attempt((const char *const[]){"rubbish\r\n", NULL}, &patient, &outcome, &fake);
	assert_string_equal(outcome.reason, "no reply code");
}

/* -------------------------------------------------------------------- watch */
struct seen {
	struct event_base *base;
	struct ipc_server_state states[2];
	int count, wanted;
};

static void on_state(const struct ipc_server_state *server, void *arg)
{
	struct seen *seen = arg;

	assert_true(server->backend == 0 && server->server < 2);
	seen->states[server->server] = *server;
	if (++seen->count == seen->wanted && seen->base != NULL)
		event_base_loopexit(seen->base, NULL);
}

static void test_watch_tells_every_server(void **state)
{
	static const struct timeval limit = {10, 0};
	static const char *const replies[] = {"220 mx\r\n", "250-mx\r\n250 DSN\r\n", NULL};
	static struct config config;
	static struct counters page;
	struct event_base *base = event_base_new();
	struct seen seen = {.base = base, .wanted = 2}, again = {.base = NULL};
	struct fake fake, nobody;

	(void)state;
	assert_non_null(base);
	counters_own(&page);
	config = (struct config){
		.hostname = (char[]){HOST}, .backend_count = 1, .probe_interval_ms = 60000};
	config.backends[0] = patient;
	config.backends[0].name = (char[]){"legacy"};
	config.backends[0].server_count = 2;
	fake_start(&fake, base, replies, &config.backends[0].servers[0]);
	fake_start(&nobody, base, replies, &config.backends[0].servers[1]);
	event_free(nobody.accepting);
	close(nobody.listener);
	struct watch *watch = watch_new(base, &config, on_state, &seen);
	assert_non_null(watch);
	watch_tell_all(watch, on_state, &again);
	assert_int_equal(again.count, 0); /* nothing is known yet */
	event_base_loopexit(base, &limit);
	event_base_dispatch(base);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.states[0].up, 1);
	assert_int_equal(seen.states[0].capabilities, CAPABILITY_EHLO | CAPABILITY_DSN);
	assert_int_equal(seen.states[1].up, 0);
	watch_tell_all(watch, on_state, &again);
	assert_int_equal(again.count, 2);
	assert_memory_equal(again.states, seen.states, sizeof seen.states);
	assert_int_equal(counter_read(&page, COUNTER_BACKENDS_CONFIGURED), 2);
	assert_int_equal(counter_read(&page, COUNTER_BACKENDS_UP), 1);
	assert_int_equal(counter_read(&page, COUNTER_PROBES), 2);
	assert_int_equal(counter_read(&page, COUNTER_PROBES_FAILED), 1);
	watch_destroy(&watch);
	fake_stop(&fake);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dialogue),
		cmocka_unit_test(test_unsolicited_reply_fails),
		cmocka_unit_test(test_verdict_survives_a_failure),
		cmocka_unit_test(test_longest_hostname_fits),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_attempt_learns_capabilities),
		cmocka_unit_test(test_attempt_comes_from_the_source),
		cmocka_unit_test(test_attempt_with_an_impossible_source),
		cmocka_unit_test(test_attempt_refused),
		cmocka_unit_test(test_attempt_gives_up_in_time),
		cmocka_unit_test(test_attempt_may_be_destroyed_at_its_verdict),
		cmocka_unit_test(test_watch_tells_every_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
