/* SPDX-License-Identifier: ISC */
/*
 * Wiring, channels and dispatch; see service.h.
 *
 * Four database connections: look-ups, two of takes, so that a meter under a lock holds up no
 * log-in and not all other takes, and one that listens (feed.c).
 */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ACCOUNTS_MAX = 64 * 1024,
	ACCOUNT_BYTES_MAX = 64 * 1024 * 1024,
	DATABASE_QUEUE_MAX = 4096,
	POOL_TICK_MS = 100,
	SETTLE_MS = 3000,   /* draining: for give-backs after the last proxy left */
	SECRETS_MORE = 256, /* log-ins that wait for their account */
	SECRETS_MAX = 4096, /* 64 MiB of locked memory */
};

typedef void handler(struct peer *peer, uint64_t id, const void *payload);

/* What a proxy may send; anything else is a broken one. */
static handler *const handlers[IPC_TYPE_END] = {
	[IPC_AUTH_REQUEST] = serve_auth_request,
	[IPC_AUTH_CANCEL] = serve_auth_cancel,
	[IPC_MAIL_REQUEST] = serve_mail_request,
	[IPC_OWNER_REQUEST] = serve_owner_request,
	[IPC_RECIPIENTS] = serve_recipients,
	[IPC_TAKE_REQUEST] = serve_take_request,
	[IPC_INTENT] = serve_intent,
	[IPC_OUTCOME] = serve_outcome,
	[IPC_SESSION_END] = serve_session_end,
	[IPC_ATTACH_SESSION] = serve_attach_session,
	[IPC_ATTACH_TRANSACTION] = serve_attach_transaction,
	[IPC_ATTACH_DONE] = serve_attach_done,
};

/* -------------------------------------------------------------------- peers */
struct peer *peer_find(const struct service *service, uint64_t number)
{
	struct peer *peer = service->peers[number % CONFIG_WORKERS_MAX];

	return peer != NULL && peer->number == number ? peer : NULL;
}

bool peer_has_room(const struct peer *peer)
{
	return peer->requests + idmap_count(peer->logins) < SERVICE_REQUESTS_MAX;
}

void peer_send_policy(struct peer *peer, enum ipc_type type, uint64_t id, enum ipc_policy policy,
	const struct query_quota_row *row)
{
	struct ipc_policy_verdict verdict;

	memset(&verdict, 0, sizeof verdict);
	verdict.policy = (uint8_t)policy;
	if (row != NULL && (policy == IPC_POLICY_LIMIT || policy == IPC_POLICY_LIMIT_REJECT ||
				   policy == IPC_POLICY_LIMIT_NEVER)) {
		verdict.limit = row->limit;
		verdict.reset_s = row->reset_s;
		verdict.meter_len = row->meter_len;
		memcpy(verdict.meter, row->meter, row->meter_len);
	}
	channel_send(peer->channel, type, id, &verdict, sizeof verdict);
}

void peer_send_wants(struct peer *peer, uint64_t transaction, const struct account_meters *meters)
{
	struct ipc_policy_verdict verdict;

	memset(&verdict, 0, sizeof verdict);
	verdict.policy = IPC_POLICY_OK;
	verdict.wants = (uint8_t)((meters->wants_bytes ? IPC_WANTS_BYTES : 0) |
				  (meters->wants_recipients ? IPC_WANTS_RECIPIENTS : 0));
	channel_send(peer->channel, IPC_MAIL_VERDICT, transaction, &verdict, sizeof verdict);
}

static void peer_destroy(struct peer *peer)
{
	sessions_destroy(peer);
	channel_close(&peer->channel);
	free(peer);
}

/* The channel's sessions and log-ins end with it; its takes wait for a new one. */
static void peer_lose(struct peer *peer, const char *reason)
{
	struct service *service = peer->service;
	struct log_line line;

	log_begin(&line, LOG_INFO, "proxy-detached");
	log_uint(&line, "proxy", peer->index);
	log_text(&line, "reason", reason);
	log_uint(&line, "sessions", idmap_count(peer->sessions));
	log_end(&line);
	service->peers[peer->index] = NULL;
	transactions_detach(service->transactions, peer->index, clock_monotonic_ms());
	spool_abandon(service->spool, peer->index, clock_monotonic_ms());
	peer_destroy(peer);
}

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	struct peer *peer = arg;

	(void)channel;
	if (handlers[type] != NULL) {
		handlers[type](peer, id, payload);
		return;
	}
	counter_add(COUNTER_CHANNELS_LOST, 1);
	peer_lose(peer, "a frame that no proxy sends");
}

static void on_close(struct channel *channel, const char *reason, void *arg)
{
	(void)channel;
	peer_lose(arg, reason);
}

static void attach_proxy(struct service *service, unsigned index, int fd)
{
	static const struct channel_events events = {.on_frame = on_frame, .on_close = on_close};

	require(index < CONFIG_WORKERS_MAX);
	if (service->peers[index] != NULL)
		peer_lose(service->peers[index], "replaced");
	struct peer *peer = calloc(1, sizeof *peer);
	if (peer == NULL) {
		close(fd);
		return;
	}
	peer->service = service;
	peer->index = index;
	peer->number = ++service->last_peer * CONFIG_WORKERS_MAX + index;
	peer->sessions = idmap_new();
	peer->logins = idmap_new();
	peer->channel = channel_open(service->base, fd, &events, peer);
	if (peer->sessions == NULL || peer->logins == NULL || peer->channel == NULL) {
		peer_destroy(peer);
		return;
	}
	service->peers[index] = peer;
	service->alone_since_ms = 0;
	serve_blocks_tell(peer);
}

void service_on_channel(struct service *service, enum ipc_process process, unsigned index, int fd)
{
	if (process == IPC_PROCESS_PROXY)
		attach_proxy(service, index, fd);
	else if (process == IPC_PROCESS_HASH)
		hash_pool_attach(service->pool, index, fd);
	else
		close(fd);
}

/* ----------------------------------------------------------------- requests */
struct request *request_new(struct peer *peer, enum request_kind kind, uint64_t session)
{
	struct service *service = peer->service;
	struct request *request = calloc(1, sizeof *request);

	if (request == NULL)
		return NULL;
	request->kind = kind;
	request->number = ++service->last_request;
	request->peer = peer->number;
	request->session = session;
	if (!idmap_put(service->requests, request->number, request)) {
		free(request);
		return NULL;
	}
	return request;
}

struct request *request_take(struct service *service, uint64_t number)
{
	return idmap_take(service->requests, number);
}

static void free_request(uint64_t number, void *value, void *arg)
{
	(void)number;
	(void)arg;
	free(value);
}

/* ----------------------------------------------------------------- database */
static void on_looked_up(
	enum database_result result, const PGresult *rows, void *arg, uint64_t ticket)
{
	struct service *service = arg;
	struct account *account = NULL;
	enum row_answer answer = ROW_UNAVAILABLE;

	if (result == DATABASE_ROWS) {
		switch (query_parse_account(rows, &account)) {
		case QUERY_ROW:
			answer = ROW_KNOWN;
			break;
		case QUERY_NO_ROW:
			answer = ROW_UNKNOWN;
			break;
		case QUERY_BAD:
			log_message(LOG_ERROR, "query-bad",
				"account_lookup returned another shape of row");
			break;
		}
	}
	account_cache_answer(service->accounts, ticket, answer, account, clock_monotonic_ms());
}

static bool look_up(void *arg, uint64_t ticket, const uint8_t *login, size_t login_len)
{
	struct service *service = arg;
	char text[IPC_LOGIN_MAX + 1];
	const char *values[] = {text};

	/* Prepared logins have no NUL; one that a proxy announced may. */
	if (memchr(login, 0, login_len) != NULL)
		return false;
	memcpy(text, login, login_len);
	text[login_len] = '\0';
	counter_add(COUNTER_ACCOUNT_LOOKUPS, 1);
	return database_query(
		service->lookups, QUERY_ACCOUNT_LOOKUP, values, on_looked_up, service, ticket);
}

static void tell_up(const struct service *service)
{
	bool up = service->lookups_ready;

	for (size_t i = 0; i < TAKE_LANES; i++)
		up = up && service->quotas_ready[i];
	counter_set(COUNTER_DATABASE_UP, up);
}

static void on_lookups_state(bool ready, void *arg)
{
	struct service *service = arg;

	service->lookups_ready = ready;
	tell_up(service);
}

static void on_quotas_state(struct service *service, size_t lane, bool ready)
{
	service->quotas_ready[lane] = ready;
	tell_up(service);
	serve_quota_lane(service, lane, ready);
	if (lane == 0 && ready)
		serve_guard_ready(service);
}

static void on_first_state(bool ready, void *arg)
{
	on_quotas_state(arg, 0, ready);
}

static void on_second_state(bool ready, void *arg)
{
	on_quotas_state(arg, 1, ready);
}

static bool open_databases(struct service *service, const struct dsn *dsn)
{
	static const struct {
		const char *name;
		void (*on_state)(bool ready, void *arg);
	} lanes[TAKE_LANES] = {{"quotas", on_first_state}, {"quotas2", on_second_state}};
	struct database_settings settings = {
		.name = "lookups",
		.dsn = dsn,
		.queue_max = DATABASE_QUEUE_MAX,
		.on_state = on_lookups_state,
		.arg = service,
	};

	service->lookups = database_open(service->base, &settings);
	bool opened = service->lookups != NULL;
	for (size_t i = 0; i < TAKE_LANES; i++) {
		settings.name = lanes[i].name;
		settings.on_state = lanes[i].on_state;
		service->quotas[i] = database_open(service->base, &settings);
		opened = opened && service->quotas[i] != NULL;
	}
	return opened;
}

/* ----------------------------------------------------------------- lifetime */
static void on_pool_tick(evutil_socket_t fd, short what, void *arg)
{
	struct service *service = arg;

	(void)fd;
	(void)what;
	hash_pool_tick(service->pool, clock_monotonic_ms());
}

size_t service_secrets(const struct config *config)
{
	size_t slots = (size_t)config->password.queue + CONFIG_HASHERS_MAX + SECRETS_MORE;

	return slots < SECRETS_MAX ? slots : SECRETS_MAX;
}

static bool open_accounts(struct service *service)
{
	const struct row_cache_settings settings = {
		.kind = &account_rows,
		.entries_max = ACCOUNTS_MAX,
		.bytes_max = ACCOUNT_BYTES_MAX,
		.lookup = look_up,
		.arg = service,
	};

	service->accounts = row_cache_new(&settings);
	return service->accounts != NULL;
}

struct service *service_new(struct event_base *base, const struct child_start *start,
	const struct dsn *dsn, const struct credential_keys *keys, const struct spool_files *files)
{
	static const struct timeval tick = {0, POOL_TICK_MS * 1000};
	struct service *service = calloc(1, sizeof *service);

	if (service == NULL)
		return NULL;
	service->base = base;
	TAILQ_INIT(&service->waiting);
	service->config = start->config;
	service->keys = keys;
	service->node = files->node;
	service->boot = files->boot;
	service->requests = idmap_new();
	service->pool_tick = event_new(base, -1, EV_PERSIST, on_pool_tick, service);
	if (service->requests == NULL || service->pool_tick == NULL || !open_accounts(service) ||
		!serve_credentials(service) || !serve_refusals(service) ||
		!open_databases(service, dsn) || !serve_live(service) ||
		!serve_changes(service, dsn) || !serve_quota(service) ||
		!serve_books(service, dsn, files) || !serve_guard(service) ||
		!serve_login(service, start->workers) || event_add(service->pool_tick, &tick) == -1)
		service_destroy(&service);
	return service;
}

void service_destroy(struct service **pointer)
{
	struct service *service = *pointer;

	if (service == NULL)
		return;
	*pointer = NULL;
	for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++) {
		if (service->peers[i] != NULL)
			peer_destroy(service->peers[i]);
		service->peers[i] = NULL;
	}
	/* While what it starts when it has written the rest is still there. */
	serve_books_destroy(service);
	/* The callbacks of queries still out find nobody to answer, but need the parts below. */
	feed_close(&service->feed);
	database_close(&service->lookups);
	for (size_t i = 0; i < TAKE_LANES; i++)
		database_close(&service->quotas[i]);
	authenticate_destroy(&service->authenticate);
	hash_pool_destroy(&service->pool);
	serve_guard_destroy(service);
	live_destroy(&service->live);
	row_cache_destroy(&service->accounts);
	row_cache_destroy(&service->credentials);
	credential_uses_destroy(&service->uses);
	refusals_destroy(&service->refused);
	login_cache_destroy(&service->verified);
	serve_quota_destroy(service);
	if (service->requests != NULL)
		idmap_each(service->requests, free_request, NULL);
	idmap_destroy(&service->requests);
	if (service->pool_tick != NULL)
		event_free(service->pool_tick);
	free(service);
}

void service_tick(struct service *service, uint64_t now_ms)
{
	transactions_sweep(service->transactions, now_ms);
	serve_quota_tick(service, now_ms);
	live_tick(service->live, now_ms);
	credential_uses_tick(service->uses, now_ms);
	refusals_tick(service->refused);
	serve_guard_tick(service, now_ms);
	serve_books_tick(service, now_ms);
}

static bool has_peers(const struct service *service)
{
	for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++) {
		if (service->peers[i] != NULL)
			return true;
	}
	return false;
}

bool service_is_idle(struct service *service, uint64_t now_ms)
{
	if (has_peers(service))
		return false;
	if (service->alone_since_ms == 0)
		service->alone_since_ms = now_ms;
	/* No proxy comes back: what it left open is settled now. */
	transactions_sweep(service->transactions, now_ms + TRANSACTION_GRACE_MS);
	quota_changed_all(service->quota, now_ms); /* what is leased goes back */
	quota_tick(service->quota, now_ms);
	if (now_ms - service->alone_since_ms >= SETTLE_MS)
		return true;
	return transactions_count(service->transactions) == 0 && quota_idle(service->quota) &&
	       serve_books_settled(service) && serve_guard_settled(service, now_ms);
}
