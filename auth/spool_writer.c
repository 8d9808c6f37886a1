/* SPDX-License-Identifier: ISC */
/*
 * One thread, two lists under one lock, an eventfd; see spool_writer.h.
 *
 * After an error the file is cut back to where it was, so that no job is on the disk that was told
 * to have failed.  What a failed fdatasync() leaves of it is the kernel's secret; the owner goes on
 * to another file then.
 */
#include "auth/spool_writer.h"

#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

enum { GROUP_MAX = 1024, STACK_BYTES = 256 * 1024 }; /* IOV_MAX */

TAILQ_HEAD(jobs, spool_job);

struct spool_writer {
	const int *files;
	bool sync;
	void *arg;
	size_t count; /* the loop's */
	int wake;
	struct event *event;
	pthread_t thread;
	bool running;

	/* The thread's. */
	int fd; /* the present file; -1: none yet */
	unsigned file;
	uint64_t offset;
	bool dirty; /* written since the last sync */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t given;
	struct jobs waiting, ended;
	bool stopping;
};

/* ---------------------------------------------------------------- the thread */
static void tell(struct spool_writer *writer, struct jobs *jobs)
{
	static const uint64_t one = 1;

	if (TAILQ_EMPTY(jobs))
		return;
	pthread_mutex_lock(&writer->lock);
	bool first = TAILQ_EMPTY(&writer->ended);
	TAILQ_CONCAT(&writer->ended, jobs, link);
	pthread_mutex_unlock(&writer->lock);
	/* It cannot be full: one is added only when the loop has taken all. */
	if (first && write(writer->wake, &one, sizeof one) == -1 && errno != EAGAIN)
		panic("an eventfd that cannot be written to");
}

static void fail_all(struct jobs *jobs, int error)
{
	struct spool_job *job;

	TAILQ_FOREACH (job, jobs, link)
		job->error = error;
}

/* 0, or an errno. */
static int sync_present(struct spool_writer *writer)
{
	if (!writer->sync || !writer->dirty || writer->fd == -1)
		return 0;
	writer->dirty = false;
	return fdatasync(writer->fd) == -1 ? errno : 0;
}

/* All of it; 0, or an errno. */
static int write_all(int fd, struct iovec *iov, int count, uint64_t offset)
{
	while (count > 0) {
		ssize_t n = pwritev(fd, iov, count, (off_t)offset);
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == -1 ? errno : ENOSPC;
		offset += (uint64_t)n;
		while (count > 0 && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

/* Appends of a group, each behind the other. */
static int append(struct spool_writer *writer, struct jobs *run)
{
	struct iovec iov[GROUP_MAX];
	struct spool_job *job;
	uint64_t end = writer->offset;
	int count = 0;

	TAILQ_FOREACH (job, run, link) {
		job->file = writer->file;
		job->offset = end;
		end += job->len;
		if (job->len > 0)
			iov[count++] = (struct iovec){job->bytes, job->len};
	}
	if (count == 0)
		return 0;
	int error = writer->fd == -1 ? EBADF : write_all(writer->fd, iov, count, writer->offset);
	if (error == 0) {
		writer->offset = end;
		writer->dirty = true;
	} else if (writer->fd != -1 && ftruncate(writer->fd, (off_t)writer->offset) == -1) {
		error = errno;
	}
	return error;
}

/* Moves the appends at the head of the group to run; at most GROUP_MAX. */
static void cut_run(struct jobs *group, struct jobs *run)
{
	struct spool_job *job = TAILQ_FIRST(group);

	for (int i = 0; i < GROUP_MAX && job != NULL && job->work == SPOOL_APPEND; i++) {
		TAILQ_REMOVE(group, job, link);
		TAILQ_INSERT_TAIL(run, job, link);
		job = TAILQ_FIRST(group);
	}
}

/* Told at once are those that do not wait for the disk, and all when it failed. */
static void do_run(struct spool_writer *writer, struct jobs *run)
{
	struct jobs told = TAILQ_HEAD_INITIALIZER(told);
	struct spool_job *job, *next;
	int error = append(writer, run);

	fail_all(run, error);
	for (job = TAILQ_FIRST(run); job != NULL; job = next) {
		next = TAILQ_NEXT(job, link);
		if (job->durable && error == 0)
			continue;
		TAILQ_REMOVE(run, job, link);
		TAILQ_INSERT_TAIL(&told, job, link);
	}
	tell(writer, &told);
	if (!TAILQ_EMPTY(run))
		fail_all(run, sync_present(writer));
	tell(writer, run);
}

static int begin(struct spool_writer *writer, struct spool_job *job)
{
	struct iovec iov = {job->bytes, job->len};
	int fd = writer->files[job->file];

	/* A file that cannot be synced is left all the same: that may be why. */
	(void)sync_present(writer);
	if (ftruncate(fd, 0) == -1)
		return errno;
	int error = write_all(fd, &iov, 1, 0);
	if (error != 0) {
		if (ftruncate(fd, 0) == -1)
			error = errno;
		return error;
	}
	writer->fd = fd;
	writer->file = job->file;
	writer->offset = job->len;
	writer->dirty = true;
	return 0;
}

static int resume(struct spool_writer *writer, const struct spool_job *job)
{
	int fd = writer->files[job->file];

	if (ftruncate(fd, (off_t)job->offset) == -1)
		return errno;
	writer->fd = fd;
	writer->file = job->file;
	writer->offset = job->offset;
	writer->dirty = true;
	return 0;
}

/* What the others hold makes it superfluous: they are on the disk first. */
static int empty(struct spool_writer *writer, const struct spool_job *job)
{
	int fd = writer->files[job->file];
	int error = sync_present(writer);

	if (error != 0)
		return error;
	if (ftruncate(fd, 0) == -1 || (writer->sync && fdatasync(fd) == -1))
		return errno;
	return 0;
}

static int read_all(struct spool_writer *writer, struct spool_job *job)
{
	size_t got = 0;

	while (got < job->len) {
		ssize_t n = pread(writer->files[job->file], job->bytes + got, job->len - got,
			(off_t)(job->offset + got));
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == -1 ? errno : EIO;
		got += (size_t)n;
	}
	return 0;
}

static void do_one(struct spool_writer *writer, struct spool_job *job)
{
	struct jobs one = TAILQ_HEAD_INITIALIZER(one);

	switch (job->work) {
	case SPOOL_APPEND:
		panic("an append outside a run");
	case SPOOL_BEGIN:
		job->error = begin(writer, job);
		break;
	case SPOOL_RESUME:
		job->error = resume(writer, job);
		break;
	case SPOOL_EMPTY:
		job->error = empty(writer, job);
		break;
	case SPOOL_READ:
		job->error = read_all(writer, job);
		break;
	}
	TAILQ_INSERT_TAIL(&one, job, link);
	tell(writer, &one);
}

static void do_group(struct spool_writer *writer, struct jobs *group)
{
	while (!TAILQ_EMPTY(group)) {
		struct jobs run = TAILQ_HEAD_INITIALIZER(run);
		struct spool_job *job = TAILQ_FIRST(group);
		cut_run(group, &run);
		if (!TAILQ_EMPTY(&run)) {
			do_run(writer, &run);
			continue;
		}
		TAILQ_REMOVE(group, job, link);
		do_one(writer, job);
	}
}

static void *run_thread(void *arg)
{
	struct spool_writer *writer = arg;

	for (;;) {
		struct jobs group = TAILQ_HEAD_INITIALIZER(group);
		pthread_mutex_lock(&writer->lock);
		while (TAILQ_EMPTY(&writer->waiting) && !writer->stopping)
			pthread_cond_wait(&writer->given, &writer->lock);
		TAILQ_CONCAT(&group, &writer->waiting, link);
		pthread_mutex_unlock(&writer->lock);
		if (TAILQ_EMPTY(&group))
			return NULL;
		do_group(writer, &group);
	}
}

/* ------------------------------------------------------------------ the loop */
static void end_jobs(struct spool_writer *writer)
{
	struct jobs ended = TAILQ_HEAD_INITIALIZER(ended);

	pthread_mutex_lock(&writer->lock);
	TAILQ_CONCAT(&ended, &writer->ended, link);
	pthread_mutex_unlock(&writer->lock);
	while (!TAILQ_EMPTY(&ended)) {
		struct spool_job *job = TAILQ_FIRST(&ended);
		TAILQ_REMOVE(&ended, job, link);
		writer->count--;
		job->done(job, writer->arg);
		free(job);
	}
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t times;

	(void)what;
	if (read(fd, &times, sizeof times) == (ssize_t)sizeof times)
		end_jobs(arg);
}

struct spool_job *spool_job_new(enum spool_work work, size_t len)
{
	struct spool_job *job = calloc(1, sizeof *job + len);

	if (job == NULL)
		return NULL;
	job->work = work;
	job->len = len;
	return job;
}

void spool_writer_give(struct spool_writer *writer, struct spool_job *job)
{
	writer->count++;
	pthread_mutex_lock(&writer->lock);
	bool first = TAILQ_EMPTY(&writer->waiting);
	TAILQ_INSERT_TAIL(&writer->waiting, job, link);
	pthread_mutex_unlock(&writer->lock);
	if (first)
		pthread_cond_signal(&writer->given);
}

size_t spool_writer_count(const struct spool_writer *writer)
{
	return writer->count;
}

/* ------------------------------------------------------------------ lifetime */
/* Signals are the loop's.  0, or an errno. */
static int start_thread(struct spool_writer *writer)
{
	pthread_attr_t attributes;
	sigset_t all, before;

	int error = pthread_attr_init(&attributes);
	if (error != 0)
		return error;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (error == 0)
		error = pthread_create(&writer->thread, &attributes, run_thread, writer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	writer->running = error == 0;
	return error;
}

struct spool_writer *spool_writer_new(
	struct event_base *base, const int *files, bool sync, void *arg)
{
	struct spool_writer *writer = calloc(1, sizeof *writer);

	if (writer == NULL)
		return NULL;
	writer->files = files;
	writer->sync = sync;
	writer->arg = arg;
	writer->fd = -1;
	TAILQ_INIT(&writer->waiting);
	TAILQ_INIT(&writer->ended);
	pthread_mutex_init(&writer->lock, NULL);
	pthread_cond_init(&writer->given, NULL);
	writer->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (writer->wake != -1)
		writer->event =
			event_new(base, writer->wake, EV_READ | EV_PERSIST, on_wake, writer);
	int error = writer->event == NULL || event_add(writer->event, NULL) == -1
			    ? ENOMEM
			    : start_thread(writer);
	if (error != 0) {
		spool_writer_destroy(&writer);
		errno = error;
	}
	return writer;
}

void spool_writer_destroy(struct spool_writer **pointer)
{
	struct spool_writer *writer = *pointer;

	if (writer == NULL)
		return;
	*pointer = NULL;
	if (writer->running) {
		pthread_mutex_lock(&writer->lock);
		writer->stopping = true;
		pthread_mutex_unlock(&writer->lock);
		pthread_cond_signal(&writer->given);
		pthread_join(writer->thread, NULL);
		end_jobs(writer);
	}
	if (writer->event != NULL)
		event_free(writer->event);
	if (writer->wake != -1)
		close(writer->wake);
	pthread_cond_destroy(&writer->given);
	pthread_mutex_destroy(&writer->lock);
	free(writer);
}
