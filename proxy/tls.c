/* SPDX-License-Identifier: ISC */
/* TLS contexts; see tls.h. */
#include "proxy/tls.h"

#include "common/clock.h"
#include "common/log.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICKET_HOUR_S = 3600, KEY_NAME_BYTES = 16, AES_KEY_BYTES = 32, MAC_KEY_BYTES = 32 };

struct ticket_key {
	uint64_t hour;
	uint8_t name[KEY_NAME_BYTES];
	uint8_t aes[AES_KEY_BYTES];
	uint8_t mac[MAC_KEY_BYTES];
};

struct tls_context {
	SSL_CTX *ctx;
	const uint8_t *seed;
	char listener[64];
	struct ticket_key current, previous;
};

static int context_index = -1; /* of our struct in an SSL_CTX */

/* One BLAKE2b of seed, hour and listener gives the name and both keys. */
static void derive_key(const struct tls_context *context, uint64_t hour, struct ticket_key *key)
{
	uint8_t message[8 + sizeof context->listener] = {0}, out[64], name[KEY_NAME_BYTES];

	memcpy(message, &hour, sizeof hour);
	memcpy(message + 8, context->listener, sizeof context->listener);
	crypto_generichash(out, sizeof out, message, sizeof message, context->seed, TLS_SEED_BYTES);
	memcpy(key->aes, out, sizeof key->aes);
	memcpy(key->mac, out + sizeof key->aes, sizeof key->mac);
	crypto_generichash(name, sizeof name, out, sizeof out, context->seed, TLS_SEED_BYTES);
	memcpy(key->name, name, sizeof key->name);
	key->hour = hour;
	sodium_memzero(out, sizeof out);
}

static void rotate(struct tls_context *context)
{
	uint64_t hour = clock_wall_ms() / 1000 / TICKET_HOUR_S;

	if (context->current.hour == hour)
		return;
	derive_key(context, hour - 1, &context->previous);
	derive_key(context, hour, &context->current);
}

static int set_keys(const struct ticket_key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher,
	EVP_MAC_CTX *mac, int encrypt)
{
	OSSL_PARAM params[3];

	params[0] = OSSL_PARAM_construct_octet_string(
		OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac, sizeof key->mac);
	params[1] = OSSL_PARAM_construct_utf8_string(
		OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0);
	params[2] = OSSL_PARAM_construct_end();
	if (EVP_MAC_CTX_set_params(mac, params) != 1)
		return -1;
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, encrypt) != 1)
		return -1;
	return 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 use, 2 use and renew, 0 full handshake, -1 error. */
static int ticket_key(SSL *ssl, unsigned char name[KEY_NAME_BYTES], unsigned char *iv,
	EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	struct tls_context *context = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index);

	rotate(context);
	if (encrypt) {
		randombytes_buf(iv, (size_t)EVP_CIPHER_get_iv_length(EVP_aes_256_cbc()));
		memcpy(name, context->current.name, KEY_NAME_BYTES);
		return set_keys(&context->current, iv, cipher, mac, 1);
	}
	if (sodium_memcmp(name, context->current.name, KEY_NAME_BYTES) == 0)
		return set_keys(&context->current, iv, cipher, mac, 0);
	if (sodium_memcmp(name, context->previous.name, KEY_NAME_BYTES) == 0)
		return set_keys(&context->previous, iv, cipher, mac, 0) == 1 ? 2 : -1;
	return 0;
}

/* Against cross-protocol attacks (ALPACA): who offers protocols must offer smtp. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
	const unsigned char *offered, unsigned offered_len, void *arg)
{
	static const unsigned char smtp[] = "smtp";

	(void)ssl;
	(void)arg;
	for (unsigned i = 0; i + 1 <= offered_len; i += 1u + offered[i]) {
		if (offered[i] == 4 && i + 5 <= offered_len &&
			memcmp(offered + i + 1, smtp, 4) == 0) {
			*out = offered + i + 1;
			*out_len = 4;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A key file with a passphrase is refused rather than asked for on a terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static bool set_policy(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT |
					 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 1); /* none would stall clients without TCP_NODELAY */
	SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_timeout(ctx, 2 * TICKET_HOUR_S);
	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_cipher_list(ctx,
		       "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
		       "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
		       "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
					     "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
	       SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1 &&
	       SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key) == 1;
}

static void explain(char *out, size_t room, const char *what, const char *file)
{
	char reason[160];
	unsigned long error = ERR_peek_last_error();

	ERR_error_string_n(error, reason, sizeof reason);
	const char *text = ERR_reason_error_string(error);
	snprintf(out, room, "%s %s: %s", what, file, text != NULL ? text : reason);
	ERR_clear_error();
}

static bool load_files(SSL_CTX *ctx, const char *chain, const char *key, char *error, size_t room)
{
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, chain) != 1) {
		explain(error, room, "cannot use the certificate chain", chain);
		return false;
	}
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		explain(error, room, "cannot use the private key", key);
		return false;
	}
	if (SSL_CTX_check_private_key(ctx) != 1) {
		explain(error, room, "the private key does not belong to the certificate:", key);
		return false;
	}
	return true;
}

struct tls_context *tls_context_new(const char *listener, const char *chain_file,
	const char *key_file, const uint8_t seed[TLS_SEED_BYTES], char *error_out, size_t room)
{
	struct tls_context *context = calloc(1, sizeof *context);

	if (context == NULL) {
		snprintf(error_out, room, "out of memory");
		return NULL;
	}
	if (context_index == -1)
		context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	snprintf(context->listener, sizeof context->listener, "%s", listener);
	context->seed = seed;
	context->ctx = SSL_CTX_new(TLS_server_method());
	if (context->ctx == NULL ||
		SSL_CTX_set_ex_data(context->ctx, context_index, context) != 1 ||
		!set_policy(context->ctx)) {
		explain(error_out, room, "cannot set up TLS for listener", listener);
		tls_context_free(&context);
		return NULL;
	}
	/* 32 octets at most; the listener decides which sessions a ticket may resume. */
	uint8_t id[32];
	crypto_generichash(id, sizeof id, (const uint8_t *)listener, strlen(listener), NULL, 0);
	SSL_CTX_set_session_id_context(context->ctx, id, sizeof id);
	if (!load_files(context->ctx, chain_file, key_file, error_out, room))
		tls_context_free(&context);
	else
		rotate(context);
	return context;
}

bool tls_context_names_host(const struct tls_context *context)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(
		SSL_CTX_get0_certificate(context->ctx), NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		int type = sk_GENERAL_NAME_value(names, i)->type;
		found |= type == GEN_DNS || type == GEN_IPADD;
	}
	GENERAL_NAMES_free(names);
	return found;
}

void tls_context_free(struct tls_context **pointer)
{
	struct tls_context *context = *pointer;

	if (context == NULL)
		return;
	*pointer = NULL;
	SSL_CTX_free(context->ctx);
	sodium_memzero(context, sizeof *context);
	free(context);
}

SSL *tls_accept(struct tls_context *context)
{
	SSL *ssl = SSL_new(context->ctx);

	if (ssl != NULL)
		SSL_set_accept_state(ssl);
	return ssl;
}
