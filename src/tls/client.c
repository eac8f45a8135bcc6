/* TLS towards servers, by OpenSSL. Used by proto/mysql. */
#include "tls/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "util/text.h"

/* --- the context --- */

static const char *openssl_reason(void)
{
	/* The first is what happened, the others say where. */
	unsigned long code = ERR_peek_error();

	/* What the system said about a file is not among OpenSSL's own texts. */
	if (ERR_SYSTEM_ERROR(code))
		return strerror(ERR_GET_REASON(code));
	const char *text = ERR_reason_error_string(code);
	return text ? text : "no reason given";
}

static bool bad_file(const char *what, const char *path, struct buf *ret_problem)
{
	buf_printf(ret_problem, "%s \"%s\": %s", what, path, openssl_reason());
	return false;
}

static bool load_files(SSL_CTX *ctx, const struct tls_client *client, struct buf *ret_problem)
{
	const char *key = client->key ? client->key : client->cert;

	if (client->ca && SSL_CTX_load_verify_locations(ctx, client->ca, NULL) != 1)
		return bad_file("ssl_ca", client->ca, ret_problem);
	if (!client->cert)
		return true;
	if (SSL_CTX_use_certificate_chain_file(ctx, client->cert) != 1)
		return bad_file("ssl_cert", client->cert, ret_problem);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return bad_file("ssl_key", key, ret_problem);
	return true;
}

/* One context per connection: connections are few and live long, and a certificate that was
 * replaced counts from the next one on. */
static SSL_CTX *context_new(const struct tls_client *client, struct buf *ret_problem)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
		buf_text(ret_problem, "out of memory");
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* The buffers of an idle connection would be most of its memory. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(
		ctx, client->proof == TLS_PROVES_NOTHING ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	if (!load_files(ctx, client, ret_problem)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

/* --- the connection --- */

static bool is_numeric(const char *host)
{
	uint8_t address[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* Whom the certificate must name, and who is asked for. */
static bool set_host(SSL *ssl, const struct tls_client *client)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	bool names_host = client->proof == TLS_PROVES_HOST;
	char name[TLSEXT_MAXLEN_host_name + 1];

	/* A name that no certificate has must not end as no name at all, which any would fit. */
	if (!client->host || !*client->host)
		return !names_host;
	if (is_numeric(client->host))
		return !names_host || X509_VERIFY_PARAM_set1_ip_asc(param, client->host) == 1;
	/* OpenSSL copies it, but its macro casts const away. */
	text_copy(name, sizeof(name), client->host);
	return SSL_set_tlsext_host_name(ssl, name) == 1 &&
	       (!names_host || SSL_set1_host(ssl, client->host) == 1);
}

void *tls_client_new(const struct tls_client *client, int fd, struct buf *ret_problem)
{
	ERR_clear_error();
	SSL_CTX *ctx = context_new(client, ret_problem);
	if (!ctx)
		return NULL;
	SSL *ssl = SSL_new(ctx);
	/* The SSL has its own reference. */
	SSL_CTX_free(ctx);
	if (!ssl || SSL_set_fd(ssl, fd) != 1 || !set_host(ssl, client)) {
		buf_printf(ret_problem, "TLS: %s", openssl_reason());
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}

static enum tls_outcome outcome_of(const SSL *ssl, int result)
{
	switch (SSL_get_error(ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANTS_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANTS_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_ENDED;
	default:
		return TLS_FAILED;
	}
}

static void explain(const SSL *ssl, int error, struct buf *ret_problem)
{
	long verified = SSL_get_verify_result(ssl);

	if (verified != X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE)
		buf_printf(ret_problem, "the server's certificate is refused: %s",
			X509_verify_cert_error_string(verified));
	else if (ERR_peek_error())
		buf_printf(ret_problem, "TLS: %s", openssl_reason());
	else
		buf_printf(ret_problem, "TLS: %s",
			error ? strerror(error) : "the server closed the connection");
}

enum tls_outcome tls_handshake(void *tls, struct buf *ret_problem)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_do_handshake(tls);
	int error = errno;
	enum tls_outcome outcome = result == 1 ? TLS_DONE : outcome_of(tls, result);

	if (outcome == TLS_ENDED || outcome == TLS_FAILED) {
		unsigned long reason = ERR_peek_error();
		bool broke =
			!reason || ERR_GET_REASON(reason) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
		explain(tls, error, ret_problem);
		return broke && SSL_get_verify_result(tls) == X509_V_OK ? TLS_ENDED : TLS_FAILED;
	}
	if (outcome == TLS_DONE)
		/* Authorities are of no use any more, and a system's are half a megabyte. */
		SSL_CTX_set_cert_store(SSL_get_SSL_CTX(tls), X509_STORE_new());
	return outcome;
}

enum tls_outcome tls_read(void *tls, void *ret_data, size_t len, size_t *ret_len)
{
	ERR_clear_error();
	int result = SSL_read_ex(tls, ret_data, len, ret_len);

	return result == 1 ? TLS_DONE : outcome_of(tls, result);
}

enum tls_outcome tls_write(void *tls, const void *data, size_t len, size_t *ret_len)
{
	ERR_clear_error();
	int result = SSL_write_ex(tls, data, len, ret_len);

	return result == 1 ? TLS_DONE : outcome_of(tls, result);
}

bool tls_fingerprint(const void *tls, char ret_hex[TLS_FINGERPRINT])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	X509 *certificate = SSL_get1_peer_certificate(tls);

	bool ok = certificate && X509_digest(certificate, EVP_sha1(), digest, &len) == 1 &&
		  2 * len + 1 == TLS_FINGERPRINT;
	X509_free(certificate);
	for (unsigned i = 0; ok && i < len; i++)
		snprintf(ret_hex + (size_t)2 * i, 3, "%02x", digest[i]);
	return ok;
}

void tls_free(void *tls)
{
	SSL_free(tls);
}
