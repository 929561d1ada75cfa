/*
 * role - see role.h. One of the two files that talk to libcurl.
 *
 * Only what the configuration names is connected to: no redirects, no proxies, no other protocols
 * than the job's, certificates verified (but for opportunistic TLS, which cannot be). Of an answer
 * the status decides; its text is kept short, for people, and read by nobody else.
 *
 * Trusted with: the network, the keys of signatures, passwords of mail servers. Not trusted with:
 * the database, the sockets of other daemons. Diagnostics: answers; "alert" log lines. Known gaps:
 * it runs as the user acctd runs as.
 */
#include "accounting/alert/role.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "accounting/alert/payload.h"
#include "accounting/alert/rules.h"
#include "accounting/alert/sign.h"

#define PARENT	   3
#define SECRET_MAX 4096
#define ANSWER_CUT 65536 /* bytes of an answer that are read at all */
#define PARENT_MS  5000

struct job {
	json_t *j;
	CURL *easy;
	struct curl_slist *headers, *rcpt;
	char err[CURL_ERROR_SIZE];
	char answer[ALERT_ANSWER_MAX];
	size_t got, sent;
	bool mail;
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static long int_of(const json_t *o, const char *key)
{
	return (long)json_integer_value(json_object_get(o, key));
}

/* The first line of a file; NULL with errno. Wipe and free it. */
static char *secret_of(const char *file, size_t *len)
{
	size_t all = 0;
	char *s = proc_read_file(file, SECRET_MAX, &all);
	if (!s)
		return NULL;
	*len = strcspn(s, "\r\n");
	explicit_bzero(s + *len, all - *len);
	return s;
}

static void wipe(char *s, size_t len)
{
	explicit_bzero(s, len);
	free(s);
}

/* --- what libcurl calls --- */

static void keep(struct job *job, const char *p, size_t n)
{
	size_t have = strlen(job->answer), room = sizeof job->answer - 1 - have;
	if (n > room)
		n = room;
	memcpy(job->answer + have, p, n);
	job->answer[have + n] = '\0';
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
	struct job *job = arg;
	job->got += size * n;
	keep(job, p, size * n);
	return job->got > ANSWER_CUT ? 0 : size * n;
}

/* Replies of a mail server come as headers: the last one says how it ended. */
static size_t on_reply(char *p, size_t size, size_t n, void *arg)
{
	struct job *job = arg;
	job->answer[0] = '\0';
	keep(job, p, size * n);
	return size * n;
}

static size_t on_read(char *buf, size_t size, size_t n, void *arg)
{
	struct job *job = arg;
	const json_t *body = json_object_get(job->j, "body");
	size_t left = json_string_length(body) - job->sent, want = size * n;
	if (want > left)
		want = left;
	memcpy(buf, json_string_value(body) + job->sent, want);
	job->sent += want;
	return want;
}

/* --- setting up --- */

static bool add_header(struct job *job, const char *line)
{
	struct curl_slist *l = curl_slist_append(job->headers, line);
	if (l)
		job->headers = l;
	return l != NULL;
}

static bool sign(struct job *job, const char *file, const char **why)
{
	char line[sizeof SIGN_HEADER + 2 + SIGN_MAX], value[SIGN_MAX];
	const json_t *body = json_object_get(job->j, "body");
	size_t len = 0;
	char *key = secret_of(file, &len);
	*why = key ? "the file of the secret is empty" : strerror(errno);
	if (!key || len == 0) {
		free(key);
		return false;
	}
	sign_body(key, len, clock_utc_ms() / 1000, json_string_value(body),
		  json_string_length(body), value);
	wipe(key, len);
	snprintf(line, sizeof line, SIGN_HEADER ": %s", value);
	return add_header(job, line);
}

static bool webhook_headers(struct job *job, const char **why)
{
	char line[256];
	size_t i;
	json_t *h;
	bool ok = true;
	snprintf(line, sizeof line, "Content-Type: %s", text_of(job->j, "type"));
	ok = add_header(job, line);
	snprintf(line, sizeof line, "Sekisho-Alert-Id: %s", text_of(job->j, "uuid"));
	/* No "Expect: 100-continue": it costs a second with servers that do not know it. */
	ok = ok && add_header(job, line) && add_header(job, "Expect:");
	json_array_foreach (json_object_get(job->j, "headers"), i, h)
		ok = ok && add_header(job, json_string_value(h));
	*why = "out of memory";
	if (ok && *text_of(job->j, "secret_file"))
		ok = sign(job, text_of(job->j, "secret_file"), why);
	return ok;
}

static bool set_webhook(struct job *job, const char **why)
{
	const json_t *body = json_object_get(job->j, "body");
	bool plain = json_is_true(json_object_get(job->j, "plain_http"));
	if (!webhook_headers(job, why))
		return false;
	curl_easy_setopt(job->easy, CURLOPT_URL, text_of(job->j, "url"));
	curl_easy_setopt(job->easy, CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
	curl_easy_setopt(job->easy, CURLOPT_POST, 1L);
	curl_easy_setopt(job->easy, CURLOPT_POSTFIELDSIZE_LARGE,
			 (curl_off_t)json_string_length(body));
	curl_easy_setopt(job->easy, CURLOPT_POSTFIELDS, json_string_value(body));
	curl_easy_setopt(job->easy, CURLOPT_HTTPHEADER, job->headers);
	curl_easy_setopt(job->easy, CURLOPT_USERAGENT, "sekisho/" SEKISHO_VERSION);
	curl_easy_setopt(job->easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(job->easy, CURLOPT_WRITEDATA, job);
	return true;
}

static bool set_auth(struct job *job, const char **why)
{
	size_t len = 0;
	if (!*text_of(job->j, "user"))
		return true;
	char *password = secret_of(text_of(job->j, "password_file"), &len);
	*why = password ? "the file of the password is empty" : strerror(errno);
	if (!password || len == 0) {
		free(password);
		return false;
	}
	curl_easy_setopt(job->easy, CURLOPT_USERNAME, text_of(job->j, "user"));
	curl_easy_setopt(job->easy, CURLOPT_PASSWORD, password);
	wipe(password, len);
	return true;
}

static void set_tls(struct job *job, long tls)
{
	static const long use[] = {[ALERT_TLS_REQUIRED] = CURLUSESSL_ALL,
				   [ALERT_TLS_IMPLICIT] = CURLUSESSL_ALL,
				   [ALERT_TLS_OPPORTUNISTIC] = CURLUSESSL_TRY,
				   [ALERT_TLS_OFF] = CURLUSESSL_NONE};
	curl_easy_setopt(job->easy, CURLOPT_USE_SSL, use[tls]);
	if (tls != ALERT_TLS_OPPORTUNISTIC)
		return;
	curl_easy_setopt(job->easy, CURLOPT_SSL_VERIFYPEER, 0L);
	curl_easy_setopt(job->easy, CURLOPT_SSL_VERIFYHOST, 0L);
}

static bool set_mail(struct job *job, const char **why)
{
	char url[700], address[300];
	const char *host = text_of(job->j, "host");
	long tls = int_of(job->j, "tls");
	bool v6 = strchr(host, ':') && host[0] != '[';
	*why = "the job breaks the rules";
	if (tls < 0 || tls > ALERT_TLS_OFF)
		return false;
	snprintf(url, sizeof url, "%s://%s%.255s%s:%ld/%.255s",
		 tls == ALERT_TLS_IMPLICIT ? "smtps" : "smtp", v6 ? "[" : "", host, v6 ? "]" : "",
		 int_of(job->j, "port"), text_of(job->j, "helo"));
	snprintf(address, sizeof address, "<%s>", text_of(job->j, "to"));
	job->rcpt = curl_slist_append(NULL, address);
	snprintf(address, sizeof address, "<%s>", text_of(job->j, "from"));
	if (!job->rcpt || !set_auth(job, why))
		return false;
	curl_easy_setopt(job->easy, CURLOPT_URL, url);
	curl_easy_setopt(job->easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	curl_easy_setopt(job->easy, CURLOPT_MAIL_FROM, address);
	curl_easy_setopt(job->easy, CURLOPT_MAIL_RCPT, job->rcpt);
	curl_easy_setopt(job->easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(job->easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(job->easy, CURLOPT_READDATA, job);
	curl_easy_setopt(job->easy, CURLOPT_HEADERFUNCTION, on_reply);
	curl_easy_setopt(job->easy, CURLOPT_HEADERDATA, job);
	set_tls(job, tls);
	return true;
}

static bool set_up(struct job *job, const char **why)
{
	const char *ca = text_of(job->j, "ca_file");
	*why = "out of memory";
	job->easy = curl_easy_init();
	if (!job->easy)
		return false;
	curl_easy_setopt(job->easy, CURLOPT_PRIVATE, job);
	curl_easy_setopt(job->easy, CURLOPT_ERRORBUFFER, job->err);
	curl_easy_setopt(job->easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(job->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(job->easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(job->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(job->easy, CURLOPT_TIMEOUT_MS, int_of(job->j, "timeout_ms"));
	curl_easy_setopt(job->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (*ca)
		curl_easy_setopt(job->easy, CURLOPT_CAINFO, ca);
	return job->mail ? set_mail(job, why) : set_webhook(job, why);
}

/* --- answering --- */

/* False: the parent is gone. */
static bool answer(const struct job *job, bool ok, const char *words)
{
	void *ctx = talloc_new(NULL);
	const char *err;
	/* The receiver may have said anything: what is not UTF-8 is not kept. */
	json_t *text = json_string(payload_clean(ctx, words, ALERT_ANSWER_MAX));
	json_t *o = json_pack("{s:O, s:b, s:o}", "id", json_object_get(job->j, "id"), "ok", (int)ok,
			      "answer", text ? text : json_string("(an answer that is not text)"));
	char *s = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (!s)
		fatal("out of memory");
	bool sent = ipc_write(PARENT, ALERT_F_ANSWER, s, strlen(s), PARENT_MS, &err);
	free(s);
	json_decref(o);
	talloc_free(ctx);
	return sent;
}

static void free_job(struct job *job)
{
	curl_easy_cleanup(job->easy);
	curl_slist_free_all(job->headers);
	curl_slist_free_all(job->rcpt);
	json_decref(job->j);
	free(job);
}

/* libcurl's words for what went wrong, with the server's where there are some. */
static bool finished(struct job *job, CURLcode rc)
{
	char words[ALERT_ANSWER_MAX + CURL_ERROR_SIZE + 16];
	long code = 0;
	curl_easy_getinfo(job->easy, CURLINFO_RESPONSE_CODE, &code);
	bool cut = rc == CURLE_WRITE_ERROR && job->got > ANSWER_CUT;
	const char *err = job->err[0] ? job->err : curl_easy_strerror(rc);
	job->answer[strcspn(job->answer, "\r\n")] = '\0';
	if (rc != CURLE_OK && !cut) {
		bool both = job->mail && job->answer[0];
		snprintf(words, sizeof words, "%s%s%s", err, both ? ": " : "",
			 both ? job->answer : "");
		return answer(job, false, words);
	}
	if (job->mail)
		return answer(job, true, job->answer);
	snprintf(words, sizeof words, "HTTP %ld%s%s", code, job->answer[0] ? " " : "", job->answer);
	return answer(job, code >= 200 && code <= 299, words);
}

static bool collect(CURLM *multi)
{
	CURLMsg *m;
	int left;
	bool ok = true;
	while (ok && (m = curl_multi_info_read(multi, &left)) != NULL) {
		struct job *job = NULL;
		CURLcode rc = m->data.result;
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&job);
		curl_multi_remove_handle(multi, job->easy);
		ok = finished(job, rc);
		free_job(job);
	}
	return ok;
}

/* --- the process --- */

static bool begin(CURLM *multi, const uint8_t *data, size_t len)
{
	const char *why = NULL;
	struct job *job = calloc(1, sizeof *job);
	if (!job)
		fatal("out of memory");
	job->j = json_loadb((const char *)data, len, 0, NULL);
	if (!json_is_integer(json_object_get(job->j, "id")))
		fatal("the parent sent a frame that breaks the rules");
	job->mail = strcmp(text_of(job->j, "how"), "mail") == 0;
	if (set_up(job, &why) && curl_multi_add_handle(multi, job->easy) == CURLM_OK)
		return true;
	bool ok = answer(job, false, why);
	free_job(job);
	return ok;
}

static bool read_job(CURLM *multi)
{
	uint16_t type;
	uint8_t *data = NULL;
	size_t len;
	const char *err;
	if (!ipc_read(PARENT, &type, &data, &len, PARENT_MS, &err))
		return false;
	if (type != ALERT_F_JOB)
		fatal("the parent sent a frame that breaks the rules (type %u)", type);
	bool ok = begin(multi, data, len);
	explicit_bzero(data, len);
	free(data);
	return ok;
}

static void serve(CURLM *multi)
{
	int running;
	for (bool ok = true; ok;) {
		struct curl_waitfd parent = {.fd = PARENT, .events = CURL_WAIT_POLLIN};
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			fatal("libcurl gives up");
		ok = collect(multi) && curl_multi_poll(multi, &parent, 1, 60000, NULL) == CURLM_OK;
		if (ok && parent.revents)
			ok = read_job(multi);
	}
}

static void give_up_rights(void)
{
	struct proc_identity id;
	const char *err;
	if (!proc_identity("", &id, &err))
		fatal("%s", err);
	proc_drop(&id, NULL, 0);
	proc_seccomp(false);
}

int alert_role_main(void)
{
	log_open("sekisho-acctd[alert]", LOG_INFO);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	(void)close_range(PARENT + 1, ~0u, 0);
	give_up_rights();
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		fatal("libcurl does not come up");
	CURLM *multi = curl_multi_init();
	if (!multi)
		fatal("out of memory");
	serve(multi);
	curl_multi_cleanup(multi);
	return 0;
}
