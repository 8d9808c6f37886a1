/* SPDX-License-Identifier: ISC */
/*
 * The spool in real files: what is recorded comes back after any end, once; it is bounded, and a
 * disk that fails costs new messages only.
 *
 * Long: one spool, and the same few steps in every order of ends and beginnings.
 */
#include "auth/spool.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "tests/unit/spool_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1024 * 1024, PATIENCE_MS = 10000, EXPIRE_MS = 3600 * 1000, PROXY = 3 };

static char directory[64];
static struct event_base *base;
static struct event *ticks;
static struct spool_files files;
static struct spool *spool;
static uint64_t now = 1000;
static size_t ready; /* batches shown */

static struct {
	size_t recorded, failed;
	uint64_t token;
} answers;

static struct {
	bool done, good;
	size_t count;
	uint64_t tids[SPOOL_BATCH_MAX];
	struct spool_outcome last;
} reading;

static const struct spool_batch *wanted; /* which is being read */

/* ----------------------------------------------------------------- fixtures */
static void on_batch(void *arg)
{
	(void)arg;
	ready++;
}

static void start(uint64_t size_bytes, bool sync)
{
	const struct spool_settings settings = {.files = &files,
		.size_bytes = size_bytes,
		.sync = sync,
		.expire_ms = EXPIRE_MS,
		.on_batch = on_batch};
	char err[256];

	if (!spool_files_open(&files, directory, err, sizeof err))
		fail_msg("%s", err);
	spool = spool_new(base, &settings, now);
	assert_non_null(spool);
}

static void stop(void)
{
	spool_destroy(&spool);
	spool_files_close(&files);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* One event, or a few milliseconds. */
static void turn(void)
{
	event_base_loop(base, EVLOOP_ONCE);
}

#define wait_until(condition)                                             \
	do {                                                              \
		uint64_t end_ = clock_monotonic_ms() + PATIENCE_MS;       \
		while (!(condition)) {                                    \
			if (clock_monotonic_ms() > end_)                  \
				fail_msg("never came true: " #condition); \
			turn();                                           \
		}                                                         \
	} while (0)

static int setup(void **state)
{
	static const struct timeval few = {0, 5000};

	(void)state;
	memset(&answers, 0, sizeof answers);
	ready = 0;
	now = 1000;
	/* In memory where it can be: a thousand starts are as many syncs. */
	snprintf(directory, sizeof directory, "%s/postern-spool-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	base = event_base_new();
	ticks = base == NULL ? NULL : event_new(base, -1, EV_PERSIST, on_tick, NULL);
	return ticks == NULL || event_add(ticks, &few) == -1 || mkdtemp(directory) == NULL;
}

static int teardown(void **state)
{
	(void)state;
	spool_destroy(&spool);
	spool_files_close(&files);
	event_free(ticks);
	event_base_free(base);
	fixture_remove(directory);
	return access(directory, F_OK) == 0;
}

/* ----------------------------------------------------------------- messages */
static void on_done(bool recorded, void *arg, uint64_t token)
{
	(void)arg;
	if (recorded)
		answers.recorded++;
	else
		answers.failed++;
	answers.token = token;
}

static void take(uint64_t tid)
{
	const struct spool_take one = {.tid = tid,
		.sid = 9,
		.account = 7,
		.proxy = PROXY,
		.messages = 1,
		.recipients = 2,
		.taken_ms = 111,
		.receipt_len = 3,
		.receipt = "r/1"};

	spool_take(spool, &one, now);
}

static enum spool_answer intend(uint64_t tid)
{
	struct spool_message message = {.tid = tid,
		.sid = 9,
		.account = 7,
		.proxy = PROXY,
		.recipients = 2,
		.bytes = 1000,
		.at_ms = 222,
		.sender_len = 5,
		.sender = "a@b.c",
		.backend_len = 12,
		.backend = "192.0.2.1:25"};

	return spool_intent(spool, &message, now, on_done, NULL, tid);
}

static enum spool_answer end(uint64_t tid, enum ipc_outcome_kind kind)
{
	const struct spool_end one = {.proxy = PROXY,
		.tid = tid,
		.kind = kind,
		.code = 250,
		.at_ms = 333,
		.queue_id_len = 4,
		.queue_id = (const uint8_t *)"QID1"};

	return spool_outcome(spool, &one, on_done, NULL, tid);
}

static void recorded(size_t count)
{
	wait_until(answers.recorded == count);
	assert_int_equal(answers.failed, 0);
}

static void send_one(uint64_t tid)
{
	size_t before = answers.recorded;

	take(tid);
	assert_int_equal(intend(tid), SPOOL_WAITING);
	recorded(before + 1);
	assert_int_equal(end(tid, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
	recorded(before + 2);
}

static void on_read(const uint8_t *bytes, size_t len, void *arg)
{
	struct spool_record record;
	size_t used;

	(void)arg;
	reading.done = true;
	reading.good = bytes != NULL;
	for (size_t at = 0; at < len; at += used) {
		if (spool_record_decode(bytes + at, len - at, &record, &used) != SPOOL_READ_RECORD)
			continue;
		if (record.type != SPOOL_OUTCOME || record.outcome.batch != wanted->number ||
			record.outcome.boot != wanted->boot)
			continue;
		reading.tids[reading.count++] = record.outcome.message.tid;
		reading.last = record.outcome;
	}
}

static bool next_batch(void)
{
	wanted = spool_batch_next(spool);
	return wanted != NULL;
}

/* The next batch, read. */
static const struct spool_batch *read_next(void)
{
	spool_close_batch(spool);
	wait_until(next_batch());
	memset(&reading, 0, sizeof reading);
	assert_true(spool_batch_read(spool, wanted, on_read, NULL));
	wait_until(reading.done);
	assert_true(reading.good);
	assert_int_equal(reading.count, wanted->count);
	return wanted;
}

static size_t upload_all(void)
{
	size_t count = 0, left;

	for (left = spool_waiting(spool); left > 0; left = spool_waiting(spool)) {
		const struct spool_batch *batch = read_next();
		count += reading.count;
		spool_batch_uploaded(spool, batch);
		wait_until(spool_waiting(spool) < left);
	}
	return count;
}

static struct spool_open opened[64];
static size_t open_count;

static void on_open(const struct spool_open *open, void *arg)
{
	(void)arg;
	assert_true(open_count < sizeof opened / sizeof *opened);
	opened[open_count++] = *open;
}

static size_t count_open(void)
{
	open_count = 0;
	spool_each_open(spool, on_open, NULL);
	return open_count;
}

static void tick(uint64_t ms)
{
	now += ms;
	spool_tick(spool, now);
	turn();
}

/* ------------------------------------------------------------ from end to end */
static void test_an_accepted_message_goes_into_a_batch(void **state)
{
	(void)state;
	start(MIB, true);
	send_one(1);
	assert_true(spool_waiting(spool) > 0);
	wait_until(ready == 1); /* by itself, after half a second */
	const struct spool_batch *batch = read_next();
	assert_true(batch->node == files.node && batch->boot == 1 && batch->count == 1);
	assert_int_equal(reading.tids[0], 1);
	assert_int_equal(reading.last.kind, IPC_OUTCOME_ACCEPTED);
	assert_int_equal(reading.last.message.taken_ms, 111);
	assert_int_equal(reading.last.message.at_ms, 333);
	assert_int_equal(reading.last.message.bytes, 1000);
	assert_memory_equal(reading.last.message.sender, "a@b.c", 5);
	assert_memory_equal(reading.last.queue_id, "QID1", 4);
	spool_batch_uploaded(spool, batch);
	wait_until(spool_waiting(spool) == 0);
	stop();
	start(MIB, true);
	assert_int_equal(spool_waiting(spool), 0);
	assert_int_equal(count_open(), 0);
}

static void test_what_was_not_uploaded_has_the_same_name_after_a_restart(void **state)
{
	(void)state;
	start(64 * MIB, true);
	for (uint64_t tid = 1; tid <= SPOOL_BATCH_MAX + 3; tid++)
		assert_int_equal(intend(tid), SPOOL_WAITING);
	recorded(SPOOL_BATCH_MAX + 3);
	for (uint64_t tid = 1; tid <= SPOOL_BATCH_MAX + 3; tid++)
		assert_int_equal(end(tid, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
	recorded(2 * (SPOOL_BATCH_MAX + 3));
	stop();
	start(64 * MIB, true);
	assert_int_equal(files.boot, 2);
	const struct spool_batch *batch = read_next();
	assert_true(batch->boot == 1 && batch->number == 1);
	assert_int_equal(batch->count, SPOOL_BATCH_MAX);
	for (size_t i = 0; i < batch->count; i++)
		assert_int_equal(reading.tids[i], i + 1);
	spool_batch_again(spool, batch);
	batch = read_next();
	assert_true(batch->boot == 1 && batch->number == 2 && batch->count == 3);
	spool_batch_uploaded(spool, batch);
	send_one(1000);
	stop();
	start(64 * MIB, true);
	batch = read_next();
	assert_true(batch->boot == 1 && batch->number == 1 && batch->count == SPOOL_BATCH_MAX);
	batch = read_next();
	assert_true(batch->boot == 2 && batch->number == 1 && batch->count == 1);
	assert_null(spool_batch_next(spool));
}

static void test_a_refused_message_goes_into_no_batch(void **state)
{
	(void)state;
	start(MIB, true);
	take(1);
	assert_int_equal(intend(1), SPOOL_WAITING);
	recorded(1);
	assert_int_equal(end(1, IPC_OUTCOME_REFUSED), SPOOL_WAITING);
	assert_int_equal(end(1, IPC_OUTCOME_REFUSED), SPOOL_REFUSED); /* the answer is on its way */
	recorded(2);
	assert_int_equal(end(1, IPC_OUTCOME_REFUSED), SPOOL_NOTHING);
	assert_int_equal(spool_waiting(spool), 0);
	stop();
	start(MIB, true);
	assert_int_equal(count_open(), 0);
	assert_int_equal(spool_waiting(spool), 0);
}

/* The client was gone at once: everything is given before anything is written. */
static void test_an_outcome_that_overtakes_its_intent(void **state)
{
	(void)state;
	start(MIB, true);
	take(1);
	assert_int_equal(intend(1), SPOOL_WAITING);
	assert_int_equal(end(1, IPC_OUTCOME_ABORTED), SPOOL_WAITING);
	recorded(2);
	assert_int_equal(count_open(), 0);
	take(2);
	assert_int_equal(end(2, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING); /* without an intent */
	recorded(3);
	read_next();
	assert_int_equal(reading.tids[0], 2);
	assert_int_equal(reading.last.message.account, 7);
	assert_int_equal(reading.last.message.recipients, 2);
}

static void test_an_outcome_of_nothing_is_nothing(void **state)
{
	(void)state;
	start(MIB, true);
	assert_int_equal(end(1, IPC_OUTCOME_ACCEPTED), SPOOL_NOTHING);
	assert_false(spool_claim(spool, PROXY, 1));
	assert_int_equal(spool_waiting(spool), 0);
}

/* -------------------------------------------------------------------- replay */
static void test_open_messages_come_back_and_end_as_unknown(void **state)
{
	(void)state;
	start(MIB, true);
	take(1);
	take(2);
	assert_int_equal(intend(2), SPOOL_WAITING);
	take(3);
	assert_int_equal(intend(3), SPOOL_WAITING);
	recorded(2);
	stop();
	start(MIB, true);
	assert_int_equal(count_open(), 3);
	for (size_t i = 0; i < open_count; i++) {
		assert_int_equal(opened[i].proxy, PROXY);
		assert_int_equal(opened[i].intended, opened[i].tid != 1);
		assert_int_equal(opened[i].take_count, 1);
		assert_memory_equal(opened[i].takes[0].receipt, "r/1", 3);
	}
	assert_true(spool_claim(spool, PROXY, 3));
	tick(SPOOL_GRACE_MS - 1);
	assert_int_equal(count_open(), 3);
	tick(1);
	wait_until(count_open() == 1);
	assert_int_equal(opened[0].tid, 3);
	read_next();
	assert_int_equal(reading.count, 1); /* what was never intended is in no book */
	assert_int_equal(reading.tids[0], 2);
	assert_int_equal(reading.last.kind, IPC_OUTCOME_UNKNOWN);
	assert_int_equal(reading.last.message.at_ms, 222);
	assert_int_equal(end(3, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
	recorded(3);
	assert_int_equal(end(2, IPC_OUTCOME_ACCEPTED), SPOOL_NOTHING); /* too late */
}

static void test_a_lost_channel_has_the_grace(void **state)
{
	(void)state;
	start(MIB, true);
	assert_int_equal(intend(1), SPOOL_WAITING);
	recorded(1);
	tick(10 * SPOOL_GRACE_MS); /* its proxy has a channel: the backend may take its time */
	assert_int_equal(count_open(), 1);
	spool_abandon(spool, PROXY, now);
	spool_abandon(spool, PROXY + 1, now);
	tick(SPOOL_GRACE_MS - 1);
	assert_int_equal(count_open(), 1);
	tick(1);
	wait_until(count_open() == 0);
	read_next();
	assert_int_equal(reading.last.kind, IPC_OUTCOME_UNKNOWN);
}

static void test_without_any_news_it_ends_too(void **state)
{
	(void)state;
	start(MIB, true);
	assert_int_equal(intend(1), SPOOL_WAITING);
	recorded(1);
	tick(EXPIRE_MS - 1);
	assert_int_equal(count_open(), 1);
	tick(1);
	wait_until(count_open() == 0);
}

static size_t read_segment(unsigned file, uint8_t *bytes, size_t size)
{
	ssize_t n = pread(files.segments[file], bytes, size, 0);

	assert_true(n > 0 && (size_t)n < size);
	return (size_t)n;
}

/* The only one that there is. */
static void write_segment(unsigned file, const uint8_t *bytes, size_t len)
{
	char path[128];

	for (unsigned i = 0; i < SPOOL_FILES; i++) {
		snprintf(path, sizeof path, "%s/segment-%02u", directory, i);
		assert_return_code(truncate(path, 0), 0);
	}
	snprintf(path, sizeof path, "%s/segment-%02u", directory, file);
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd != -1);
	assert_true(write(fd, bytes, len) == (ssize_t)len);
	close(fd);
}

static void test_cut_off_at_every_octet(void **state)
{
	static uint8_t bytes[8192];

	(void)state;
	start(MIB, false);
	send_one(1);
	send_one(2);
	take(3);
	assert_int_equal(intend(3), SPOOL_WAITING);
	recorded(5);
	size_t len = read_segment(0, bytes, sizeof bytes);
	stop();
	size_t last_known = 0;
	for (size_t cut = 0; cut <= len; cut++) {
		write_segment(0, bytes, cut);
		start(MIB, false);
		size_t known = count_open() + upload_all();
		/* Never less for more octets, and nothing twice. */
		assert_true(known >= last_known && known <= 3);
		last_known = known;
		send_one(100); /* it goes on */
		stop();
	}
	assert_int_equal(last_known, 3);
}

static void test_a_changed_bit_costs_its_record(void **state)
{
	static uint8_t bytes[8192];

	(void)state;
	start(MIB, false);
	for (uint64_t tid = 1; tid <= 3; tid++)
		send_one(tid);
	size_t len = read_segment(0, bytes, sizeof bytes);
	stop();
	for (size_t at = SPOOL_HEAD_BYTES; at < len; at += 3) {
		bytes[at] ^= 0x10;
		write_segment(0, bytes, len);
		start(MIB, false);
		size_t uploaded = upload_all();
		/* An outcome that is gone leaves its message open. */
		size_t open = count_open();
		assert_true((uploaded == 3 && open == 0) || (uploaded == 2 && open == 1));
		stop();
		bytes[at] ^= 0x10;
	}
}

static void test_a_file_without_a_head_is_left_alone(void **state)
{
	static const uint8_t garbage[SPOOL_HEAD_BYTES + 8] = "garbage";
	uint8_t bytes[sizeof garbage + 1];

	(void)state;
	start(MIB, false);
	stop();
	write_segment(5, garbage, sizeof garbage);
	start(MIB, false);
	send_one(1);
	stop();
	start(MIB, false);
	assert_int_equal(read_segment(5, bytes, sizeof bytes), sizeof garbage);
	assert_memory_equal(bytes, garbage, sizeof garbage);
	assert_true(spool_waiting(spool) > 0);
}

/* -------------------------------------------------------------------- bounds */
static void test_full_it_refuses_intents_and_records_outcomes(void **state)
{
	uint64_t tid = 0;
	size_t accepted = 0;

	(void)state;
	start(MIB, false);
	for (;;) {
		tid++;
		size_t before = answers.recorded;
		if (intend(tid) != SPOOL_WAITING)
			break;
		recorded(before + 1);
		if (tid % 8 == 0)
			continue; /* some stay open */
		assert_int_equal(end(tid, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
		recorded(before + 2);
		accepted++;
	}
	assert_true(accepted > 1000);
	tick(1);
	struct stat st;
	uint64_t total = 0;
	for (size_t i = 0; i < SPOOL_FILES; i++) {
		assert_return_code(fstat(files.segments[i], &st), 0);
		total += (uint64_t)st.st_size;
	}
	assert_in_range(total, MIB / 2, MIB);
	for (uint64_t open = 8; open < tid; open += 8) {
		size_t before = answers.recorded;
		assert_int_equal(end(open, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
		recorded(before + 1);
		accepted++;
	}
	assert_int_equal(count_open(), 0);
	stop();
	start(MIB, false);
	assert_int_equal(upload_all(), accepted);
	wait_until(intend(tid) == SPOOL_WAITING);
}

/* One message is open for long: what is younger is let go all the same. */
static void test_a_long_message_holds_up_nobody(void **state)
{
	(void)state;
	start(MIB, false);
	take(1);
	assert_int_equal(intend(1), SPOOL_WAITING);
	recorded(1);
	for (uint64_t tid = 2; tid < 8000; tid++) {
		wait_until(answers.recorded + 100 > tid * 2);
		take(tid);
		assert_int_equal(intend(tid), SPOOL_WAITING);
		size_t before = answers.recorded;
		wait_until(answers.recorded > before);
		assert_int_equal(end(tid, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
		if (tid % 200 == 0) {
			upload_all();
			tick(1);
		}
	}
	stop();
	start(MIB, false);
	assert_int_equal(count_open(), 1);
	assert_int_equal(opened[0].tid, 1);
	assert_true(opened[0].intended);
	assert_int_equal(opened[0].take_count, 1);
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	assert_return_code(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_return_code(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_disk_without_room_and_then_with(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	start(MIB, true);
	send_one(1);
	take(2);
	assert_int_equal(intend(2), SPOOL_WAITING);
	recorded(3);
	struct stat st;
	assert_return_code(fstat(files.segments[0], &st), 0);
	limit_files((rlim_t)st.st_size + 50);
	size_t answered_then = answers.recorded + answers.failed;
	assert_int_equal(intend(3), SPOOL_WAITING);
	assert_int_equal(intend(4), SPOOL_WAITING);
	wait_until(answers.failed > 0 && answers.recorded + answers.failed == answered_then + 2);
	size_t recorded_then = answers.recorded;
	answers.failed = 0;
	now = clock_monotonic_ms();
	assert_int_equal(intend(5), SPOOL_REFUSED);
	limit_files(RLIM_INFINITY);
	now += SPOOL_RETRY_MS;
	assert_int_equal(intend(6), SPOOL_WAITING);
	wait_until(answers.recorded == recorded_then + 1);
	assert_int_equal(end(2, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
	wait_until(answers.recorded == recorded_then + 2);
	stop();
	now = 1000;
	start(MIB, true);
	/* 2 has ended, those that were told to have failed never were; 6 is open. */
	size_t open = count_open();
	assert_true(open >= 1 && open <= 3);
	for (size_t i = 0; i < open; i++)
		assert_int_not_equal(opened[i].tid, 5);
	assert_true(spool_waiting(spool) > 0);
}

static void test_an_outcome_that_cannot_be_written_is_open_again(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	start(MIB, true);
	assert_int_equal(intend(1), SPOOL_WAITING);
	recorded(1);
	limit_files(100);
	assert_int_equal(end(1, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
	wait_until(answers.failed == 1);
	assert_int_equal(count_open(), 1);
	assert_int_equal(spool_waiting(spool), 0);
	limit_files(RLIM_INFINITY);
	assert_int_equal(end(1, IPC_OUTCOME_ACCEPTED), SPOOL_WAITING);
	wait_until(answers.recorded == 2);
	assert_int_equal(count_open(), 0);
	read_next();
	assert_int_equal(reading.count, 1);
}

static void test_the_end_answers_who_waits(void **state)
{
	(void)state;
	start(MIB, true);
	for (uint64_t tid = 1; tid <= 50; tid++)
		assert_int_equal(intend(tid), SPOOL_WAITING);
	stop();
	assert_int_equal(answers.recorded, 50);
	start(MIB, true);
	assert_int_equal(count_open(), 50);
}

/* --------------------------------------------------------------------- files */
static void test_a_spool_is_one_process_s(void **state)
{
	struct spool_files other;
	char err[256] = "";

	(void)state;
	start(MIB, true);
	assert_false(spool_files_open(&other, directory, err, sizeof err));
	assert_non_null(strstr(err, "another postern uses"));
	uint64_t node = files.node;
	assert_in_range(node, 1, INT64_MAX);
	stop();
	assert_true(spool_files_open(&files, directory, err, sizeof err));
	assert_true(files.node == node);
	assert_int_equal(files.boot, 2);
}

static void test_directories_that_are_not_good_enough(void **state)
{
	char err[256] = "", path[128];

	(void)state;
	assert_false(spool_files_open(&files, "/nonexistent/spool", err, sizeof err));
	assert_non_null(strstr(err, "No such file"));
	assert_return_code(chmod(directory, 0755), 0);
	assert_false(spool_files_open(&files, directory, err, sizeof err));
	assert_non_null(strstr(err, "chmod 700"));
	assert_return_code(chmod(directory, 0700), 0);
	snprintf(path, sizeof path, "%s/node", directory);
	static const char *const wrong[] = {
		"", "x", "1", "1 2", "0 1\n", "1 2\n3", "1 99999999999999999999\n"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		assert_true(write(fd, wrong[i], strlen(wrong[i])) == (ssize_t)strlen(wrong[i]));
		close(fd);
		if (spool_files_open(&files, directory, err, sizeof err))
			fail_msg("took for a node: %s", wrong[i]);
		assert_non_null(strstr(err, "/node"));
	}
	assert_return_code(unlink(path), 0);
	assert_return_code(symlink("/etc/hostname", path), 0);
	assert_false(spool_files_open(&files, directory, err, sizeof err));
	assert_return_code(unlink(path), 0);
	assert_true(spool_files_open(&files, directory, err, sizeof err));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_an_accepted_message_goes_into_a_batch),
		TEST(test_what_was_not_uploaded_has_the_same_name_after_a_restart),
		TEST(test_a_refused_message_goes_into_no_batch),
		TEST(test_an_outcome_that_overtakes_its_intent),
		TEST(test_an_outcome_of_nothing_is_nothing),
		TEST(test_open_messages_come_back_and_end_as_unknown),
		TEST(test_a_lost_channel_has_the_grace),
		TEST(test_without_any_news_it_ends_too),
		TEST(test_cut_off_at_every_octet),
		TEST(test_a_changed_bit_costs_its_record),
		TEST(test_a_file_without_a_head_is_left_alone),
		TEST(test_full_it_refuses_intents_and_records_outcomes),
		TEST(test_a_long_message_holds_up_nobody),
		TEST(test_a_disk_without_room_and_then_with),
		TEST(test_an_outcome_that_cannot_be_written_is_open_again),
		TEST(test_the_end_answers_who_waits),
		TEST(test_a_spool_is_one_process_s),
		TEST(test_directories_that_are_not_good_enough),
	};

	if (sodium_init() == -1)
		return 1;
	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
