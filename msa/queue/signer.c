/*
 * signer - see signer.h.
 *
 * Trusted with: keys that it borrows. Diagnostics: a log line dkim-failed. Known gaps: a signature
 * takes about a millisecond of the writer; how many notices there are has a ceiling.
 */
#include <pthread.h>
#include <string.h>
#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/signer.h"

struct signer {
	pthread_mutex_t lock;
	const struct dkim_table *keys;
	char *domain; /* "" none */
};

static int destroy(struct signer *s)
{
	(void)pthread_mutex_destroy(&s->lock);
	return 0;
}

struct signer *signer_new(void *ctx, const char *address)
{
	struct signer *s = talloc_zero(ctx, struct signer);
	const char *at = strrchr(address, '@');

	if (!s || pthread_mutex_init(&s->lock, NULL) != 0 ||
	    !(s->domain = talloc_strdup(s, at ? at + 1 : "")))
		fatal("out of memory");
	talloc_set_destructor(s, destroy);
	return s;
}

void signer_set(struct signer *s, const struct dkim_table *keys)
{
	(void)pthread_mutex_lock(&s->lock);
	s->keys = keys;
	(void)pthread_mutex_unlock(&s->lock);
}

const char *signer_fields(struct signer *s, void *ctx, const char *id, const char *text, size_t len,
			  int64_t now_ms)
{
	const char *domain = NULL, *fields = "";
	char *err = NULL;

	if (!s)
		return "";
	(void)pthread_mutex_lock(&s->lock);
	if (s->keys && s->domain[0])
		domain = dkim_table_domain(s->keys, s->domain, now_ms);
	if (domain)
		fields = dkim_table_sign(ctx, s->keys, domain, id, (const uint8_t *)text, len,
					 now_ms, &err);
	(void)pthread_mutex_unlock(&s->lock);
	if (fields)
		return fields;
	log_event(LOG_ERR, id, "queue", "dkim-failed", LS("domain", domain),
		  LS("error", err ? err : "no memory"), LS("action", "the notice leaves unsigned"));
	return "";
}
