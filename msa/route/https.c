/*
 * https - see https.h. The one file of msa/ that talks to libcurl.
 *
 * Purpose: one small request, its server verified for the name it was asked for. Trusted with:
 * connections to port 443 of addresses that our own resolver gave; the library asks no DNS.
 * Diagnostics: the library's words. Known gaps: none.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/route/https.h"

#define DEADLINE_S 60
#define ANSWER_MAX 1024

struct https {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
	char *ca;
};

struct job {
	struct https *f;
	CURL *easy;
	struct curl_slist *where, *fields;
	bool posts;
	char *text; /* max + 1 octets */
	size_t len, max;
	char err[CURL_ERROR_SIZE];
	https_done *cb;
	void *arg;
};

static const char *verdict(const struct job *j, CURLcode rc)
{
	long code = 0;
	char *type = NULL;

	if (rc != CURLE_OK)
		return j->err[0] ? j->err : curl_easy_strerror(rc);
	curl_easy_getinfo(j->easy, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_getinfo(j->easy, CURLINFO_CONTENT_TYPE, &type);
	if (j->posts)
		return code / 100 == 2 ? NULL : "the server answered with a code that is not 2xx";
	if (code != 200)
		return "the server answered with another code than 200";
	if (!type || strncasecmp(type, "text/plain", 10) != 0)
		return "the policy is not text/plain";
	return NULL;
}

static enum https_fault fault_of(CURLcode rc, const char *why)
{
	if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE ||
	    rc == CURLE_SSL_CONNECT_ERROR)
		return HTTPS_WEBPKI;
	return why ? HTTPS_FAILED : HTTPS_FINE;
}

static int free_job(struct job *j)
{
	curl_multi_remove_handle(j->f->multi, j->easy);
	curl_easy_cleanup(j->easy);
	curl_slist_free_all(j->where);
	curl_slist_free_all(j->fields);
	return 0;
}

static void collect(struct https *f)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(f->multi, &left))) {
		struct job *j = NULL;
		CURLcode rc = m->data.result;
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&j);
		const char *why = verdict(j, rc);
		j->cb(why && !j->posts ? NULL : j->text, j->len, fault_of(rc, why), why, j->arg);
		talloc_free(j);
	}
}

static void on_fd(evutil_socket_t fd, short what, void *arg)
{
	struct https *f = arg;
	int running;
	int mask =
	    (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

	curl_multi_socket_action(f->multi, fd, mask, &running);
	collect(f);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct https *f = arg;
	int running;

	(void)fd;
	(void)what;
	curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(f);
}

static int want_time(CURLM *multi, long ms, void *arg)
{
	struct https *f = arg;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	(void)multi;
	if (ms < 0)
		event_del(f->timer);
	else
		event_add(f->timer, &tv);
	return 0;
}

static int want_fd(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_fd)
{
	struct https *f = arg;
	struct event *e = of_fd;

	(void)easy;
	if (e)
		event_free(e);
	e = NULL;
	if (what != CURL_POLL_REMOVE) {
		short want = (short)((what & CURL_POLL_IN ? EV_READ : 0) |
				     (what & CURL_POLL_OUT ? EV_WRITE : 0));
		e = event_new(f->base, fd, (short)(want | EV_PERSIST), on_fd, f);
		if (!e || event_add(e, NULL) != 0)
			fatal("out of memory");
	}
	curl_multi_assign(f->multi, fd, e);
	return 0;
}

static int free_https(struct https *f)
{
	talloc_free_children(f); /* the jobs leave it first */
	if (f->multi)
		curl_multi_cleanup(f->multi);
	event_free(f->timer);
	return 0;
}

struct https *https_new(struct event_base *base, const char *ca)
{
	struct https *f;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		return NULL;
	f = talloc_zero(NULL, struct https);
	if (!f || !(f->ca = talloc_strdup(f, ca)))
		fatal("out of memory");
	f->base = base;
	f->timer = evtimer_new(base, on_timer, f);
	f->multi = curl_multi_init();
	if (!f->timer || !f->multi)
		fatal("out of memory");
	talloc_set_destructor(f, free_https);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, want_fd);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, want_time);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	return f;
}

void https_free(struct https *f)
{
	talloc_free(f);
}

/* What is too long ends a get; of the answer to a post the beginning will do. */
static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
	struct job *j = arg;
	size_t all = size * n, k = j->max - j->len < all ? j->max - j->len : all;

	if (k < all && !j->posts)
		return 0;
	memcpy(j->text + j->len, p, k);
	j->len += k;
	return all;
}

/* "HOST:443:ADDRESS,ADDRESS" */
static void set_where(struct job *j, const char *host, const struct addr *addrs, size_t n)
{
	char *s = talloc_asprintf(j, "%s:443:", host), text[ADDR_STRLEN];

	for (size_t i = 0; s && i < n; i++)
		s = talloc_asprintf_append(s, addr_is4(&addrs[i]) ? "%s%s" : "%s[%s]", i ? "," : "",
					   addr_format(&addrs[i], text));
	if (!s || !(j->where = curl_slist_append(NULL, s)))
		fatal("out of memory");
	curl_easy_setopt(j->easy, CURLOPT_RESOLVE, j->where);
}

static struct job *new_job(struct https *f, size_t max, https_done *cb, void *arg)
{
	struct job *j = talloc_zero(f, struct job);

	if (!j || !(j->text = talloc_zero_size(j, max + 1)) || !(j->easy = curl_easy_init()))
		fatal("out of memory");
	j->f = f;
	j->max = max;
	j->cb = cb;
	j->arg = arg;
	talloc_set_destructor(j, free_job);
	return j;
}

static void begin(struct job *j, const char *host, const char *path, const struct addr *addrs,
		  size_t n)
{
	char *url = talloc_asprintf(j, "https://%s%s", host, path);

	if (!url)
		fatal("out of memory");
	set_where(j, host, addrs, n);
	curl_easy_setopt(j->easy, CURLOPT_URL, url);
	curl_easy_setopt(j->easy, CURLOPT_PRIVATE, j);
	curl_easy_setopt(j->easy, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(j->easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(j->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(j->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(j->easy, CURLOPT_TIMEOUT, (long)DEADLINE_S);
	curl_easy_setopt(j->easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(j->easy, CURLOPT_ERRORBUFFER, j->err);
	curl_easy_setopt(j->easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(j->easy, CURLOPT_WRITEDATA, j);
	if (j->f->ca[0])
		curl_easy_setopt(j->easy, CURLOPT_CAINFO, j->f->ca);
	curl_multi_add_handle(j->f->multi, j->easy);
}

void https_get(struct https *f, const char *host, const char *path, const struct addr *addrs,
	       size_t n, size_t max, https_done *cb, void *arg)
{
	begin(new_job(f, max, cb, arg), host, path, addrs, n);
}

void https_post(struct https *f, const char *host, const char *path, const struct addr *addrs,
		size_t n, const struct https_content *what, https_done *cb, void *arg)
{
	struct job *j = new_job(f, ANSWER_MAX, cb, arg);
	char *type = talloc_asprintf(j, "Content-Type: %s", what->type);

	if (!type || !(j->fields = curl_slist_append(NULL, type)))
		fatal("out of memory");
	j->posts = true;
	curl_easy_setopt(j->easy, CURLOPT_HTTPHEADER, j->fields);
	curl_easy_setopt(j->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)what->len);
	curl_easy_setopt(j->easy, CURLOPT_COPYPOSTFIELDS, what->data);
	begin(j, host, path, addrs, n);
}
