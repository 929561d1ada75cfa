/*
 * tls_watch - listens to the hello of each client of a context, and keeps its name (tls_hello.h)
 * with the connection.
 */
#ifndef MSA_TLS_WATCH_H
#define MSA_TLS_WATCH_H

#include <openssl/ssl.h>

/* Before the context's first connection. */
void tls_watch(SSL_CTX *ctx);
/* "" when nothing was heard yet, or what was heard has no name; lives with ssl. NULL: "". */
const char *tls_watched(const SSL *ssl);

#endif
