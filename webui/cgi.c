/*
 * cgi - the request, from the environment and standard input.
 *
 * Purpose: the one place where bytes of a browser become fields. Pure but for the two functions of
 * struct cgi_source. Trusted with: nothing; a request that breaks a rule is answered with its
 * status and one sentence. Diagnostics: static texts for the error page. Known gaps:
 * multipart/form-data is not read (no page needs it); HTTP_* headers beyond those below are
 * ignored, HTTP_PROXY above all.
 */
#include "webui/cgi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

/* --- text ------------------------------------------------------------------------------------- */

/* Length of the valid UTF-8 sequence at s (RFC 3629), 0 when there is none. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	static const struct {
		unsigned char lo, hi, n, lo2, hi2;
	} rows[] = {
	    {0x00, 0x7f, 1, 0, 0},	 {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
	    {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
	    {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (s[0] < rows[i].lo || s[0] > rows[i].hi)
			continue;
		if (rows[i].n > left)
			return 0;
		if (rows[i].n > 1 && (s[1] < rows[i].lo2 || s[1] > rows[i].hi2))
			return 0;
		for (size_t k = 2; k < rows[i].n; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return rows[i].n;
	}
	return 0;
}

static bool control_ok(unsigned char c, enum cgi_text kind)
{
	if (c >= 0x20 && c != 0x7f)
		return true;
	return kind == CGI_MANY_LINES && (c == '\t' || c == '\n' || c == '\r');
}

bool cgi_text_ok(const char *s, size_t len, enum cgi_text kind)
{
	const unsigned char *p = (const unsigned char *)s;
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_len(p + i, len - i);
		if (!n || (n == 1 && !control_ok(p[i], kind)))
			return false;
	}
	return true;
}

static int hex(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode one name or value; NULL when a percent sign is not followed by two hexadecimal digits. */
static char *decode(void *ctx, const char *s, size_t len, size_t *out_len)
{
	char *out = talloc_array(ctx, char, len + 1);
	size_t n = 0;
	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (c == '+') {
			c = ' ';
		} else if (c == '%') {
			int hi = i + 2 < len ? hex((unsigned char)s[i + 1]) : -1;
			int lo = hi >= 0 ? hex((unsigned char)s[i + 2]) : -1;
			if (lo < 0)
				return NULL;
			c = (char)(hi << 4 | lo);
			i += 2;
		}
		out[n++] = c;
	}
	out[n] = '\0';
	*out_len = n;
	return out;
}

/* CR LF and lone CR become LF, in place. */
static void unify_lines(char *s)
{
	char *w = s;
	for (const char *r = s; *r; r++) {
		if (*r == '\r') {
			if (r[1] != '\n')
				*w++ = '\n';
			continue;
		}
		*w++ = *r;
	}
	*w = '\0';
}

/* --- fields ----------------------------------------------------------------------------------- */

static bool fields_init(void *ctx, struct cgi_fields *f, size_t max)
{
	f->n = 0;
	f->v = talloc_zero_array(ctx, struct cgi_field, max ? max : 1);
	return f->v != NULL;
}

const char *cgi_get(const struct cgi_fields *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->v[i].name, name) == 0)
			return f->v[i].value;
	return NULL;
}

const char *cgi_trimmed(void *ctx, const struct cgi_fields *f, const char *name)
{
	const char *s = cgi_get(f, name);
	if (!s)
		return "";
	s += strspn(s, " \t\n");
	size_t len = strlen(s);
	while (len && strchr(" \t\n", s[len - 1]))
		len--;
	const char *copy = talloc_strndup(ctx, s, len);
	return copy ? copy : "";
}

bool cgi_id(const char *text, int64_t *out)
{
	if (!text || *text < '1' || *text > '9' || strlen(text) > 19)
		return false;
	if (strspn(text, "0123456789") != strlen(text))
		return false;
	errno = 0;
	long long v = strtoll(text, NULL, 10);
	if (errno)
		return false;
	*out = v;
	return true;
}

/* One name=value; the caller has room for it. */
static bool one_field(const char *s, size_t len, enum cgi_text kind, struct cgi_fields *out,
		      const char **err)
{
	const char *eq = memchr(s, '=', len);
	size_t name_len = eq ? (size_t)(eq - s) : len;
	size_t n, v;
	char *name = decode(out->v, s, name_len, &n);
	char *value =
	    eq ? decode(out->v, eq + 1, len - name_len - 1, &v) : talloc_strdup(out->v, "");
	if (!eq)
		v = 0;
	if (!name || !value) {
		*err = "a percent sign in the request is not followed by two hexadecimal digits";
		return false;
	}
	if (!cgi_text_ok(name, n, CGI_ONE_LINE) || !cgi_text_ok(value, v, kind)) {
		*err = "a field holds control characters or is not UTF-8";
		return false;
	}
	if (cgi_get(out, name)) {
		*err = "a field is given twice";
		return false;
	}
	unify_lines(value);
	out->v[out->n++] = (struct cgi_field){name, value};
	return true;
}

bool cgi_urlencoded(void *ctx, const char *s, size_t len, size_t max, enum cgi_text kind,
		    struct cgi_fields *out, const char **err)
{
	*err = "out of memory";
	if (!fields_init(ctx, out, max))
		return false;
	const char *end = s + len;
	while (s < end) {
		const char *amp = memchr(s, '&', (size_t)(end - s));
		size_t part = (size_t)((amp ? amp : end) - s);
		if (part) {
			if (out->n == max) {
				*err = "too many fields";
				return false;
			}
			if (!one_field(s, part, kind, out, err))
				return false;
		}
		s += part + 1;
	}
	return true;
}

char *cgi_encode(void *ctx, const char *s)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~/";
	static const char digits[] = "0123456789ABCDEF";
	char *out = talloc_array(ctx, char, 3 * strlen(s) + 1), *o = out;
	for (; out && *s; s++) {
		if (strchr(plain, *s)) {
			*o++ = *s;
			continue;
		}
		*o++ = '%';
		*o++ = digits[(unsigned char)*s >> 4];
		*o++ = digits[(unsigned char)*s & 15];
	}
	if (out)
		*o = '\0';
	return out;
}

char *cgi_target(void *ctx, const struct cgi_request *r, const char *but)
{
	char *out = talloc_strdup(ctx, r->path);
	char sep = '?';
	for (size_t i = 0; out && i < r->query.n; i++) {
		const struct cgi_field *f = &r->query.v[i];
		if (but && strcmp(f->name, but) == 0)
			continue;
		char *name = cgi_encode(out, f->name), *value = cgi_encode(out, f->value);
		out =
		    name && value ? talloc_asprintf_append(out, "%c%s=%s", sep, name, value) : NULL;
		sep = '&';
	}
	return out;
}

static void drop_cookie(struct cgi_fields *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->v[i].name, name) == 0)
			f->v[i].value = NULL;
}

bool cgi_cookies(void *ctx, const char *s, size_t len, size_t max, struct cgi_fields *out,
		 const char **err)
{
	*err = "out of memory";
	if (!fields_init(ctx, out, max))
		return false;
	const char *end = s + len;
	while (s < end) {
		const char *semi = memchr(s, ';', (size_t)(end - s));
		const char *stop = semi ? semi : end;
		while (s < stop && (*s == ' ' || *s == '\t'))
			s++;
		const char *eq = memchr(s, '=', (size_t)(stop - s));
		if (eq && eq > s && cgi_text_ok(s, (size_t)(stop - s), CGI_ONE_LINE)) {
			if (out->n == max) {
				*err = "too many cookies: clear those of this site";
				return false;
			}
			const char *name = talloc_strndup(out->v, s, (size_t)(eq - s));
			const char *value = talloc_strndup(out->v, eq + 1, (size_t)(stop - eq - 1));
			if (!name || !value)
				return false;
			/* Two of one name: a neighbour host planted one; believe neither. */
			bool twice = false;
			for (size_t i = 0; i < out->n; i++)
				twice |= strcmp(out->v[i].name, name) == 0;
			if (twice)
				drop_cookie(out, name);
			else
				out->v[out->n++] = (struct cgi_field){name, value};
		}
		s = stop + 1;
	}
	return true;
}

/* --- the request ------------------------------------------------------------------------------ */

static const char *env_or(const struct cgi_source *src, const char *name)
{
	const char *v = src->env(name, src->arg);
	return v ? v : "";
}

static enum cgi_method parse_method(const char *m)
{
	static const struct {
		const char *name;
		enum cgi_method method;
	} rows[] = {{"GET", CGI_GET}, {"HEAD", CGI_HEAD}, {"POST", CGI_POST}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(m, rows[i].name) == 0)
			return rows[i].method;
	return CGI_OTHER;
}

/* The server has decoded it; we only insist on a plain one. */
static bool path_ok(const char *p)
{
	if (p[0] != '/' || !cgi_text_ok(p, strlen(p), CGI_ONE_LINE))
		return false;
	for (const char *s = p; *s; s++) {
		if (*s != '/')
			continue;
		const char *seg = s + 1;
		size_t n = strcspn(seg, "/");
		if ((n == 0 && *seg) || (n == 1 && seg[0] == '.') ||
		    (n == 2 && seg[0] == '.' && seg[1] == '.'))
			return false;
	}
	return true;
}

/*
 * Cross-site posts: a browser that sends Sec-Fetch-Site or Origin tells us. Absent headers are no
 * proof of anything; the CSRF token is.
 */
static bool origin_ok(const struct cgi_source *src)
{
	const char *site = src->env("HTTP_SEC_FETCH_SITE", src->arg);
	const char *origin = src->env("HTTP_ORIGIN", src->arg);
	const char *host = env_or(src, "HTTP_HOST");
	if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
		return false;
	if (!origin)
		return true;
	return strncmp(origin, "https://", 8) == 0 && strcmp(origin + 8, host) == 0 && *host;
}

static bool form_type(const char *type)
{
	static const char want[] = "application/x-www-form-urlencoded";
	size_t n = sizeof(want) - 1;
	return strncmp(type, want, n) == 0 && (type[n] == '\0' || type[n] == ';' || type[n] == ' ');
}

/* CONTENT_LENGTH as a number; false when absent or anything but digits. */
static bool content_length(const char *text, size_t *out)
{
	size_t n = strlen(text);
	if (!n || n > 10 || strspn(text, "0123456789") != n)
		return false;
	*out = (size_t)strtoul(text, NULL, 10);
	return true;
}

static int read_body(void *ctx, const struct cgi_source *src, const struct cgi_limits *lim,
		     char **body, size_t *len, const char **err)
{
	if (!form_type(env_or(src, "CONTENT_TYPE"))) {
		*err = "only form data (application/x-www-form-urlencoded) is read here";
		return 415;
	}
	if (!content_length(env_or(src, "CONTENT_LENGTH"), len)) {
		*err = "the request does not say how long it is";
		return 411;
	}
	if (*len > lim->body_bytes) {
		*err = "the request is too large: send less at a time, or use sekishoctl on the "
		       "gateway";
		return 413;
	}
	*body = talloc_array(ctx, char, *len + 1);
	size_t got = 0;
	while (*body && got < *len) {
		long n = src->read(*body + got, *len - got, src->arg);
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	if (!*body || got != *len) {
		*err = "the request ended early: send it again";
		return 400;
	}
	(*body)[got] = '\0';
	return 0;
}

static int parse_form(void *ctx, const struct cgi_source *src, const struct cgi_limits *lim,
		      struct cgi_request *out, const char **err)
{
	char *body = NULL;
	size_t len = 0;
	int status = read_body(ctx, src, lim, &body, &len, err);
	if (status)
		return status;
	bool ok = cgi_urlencoded(ctx, body, len, lim->fields, CGI_MANY_LINES, &out->form, err);
	explicit_bzero(body, len); /* it may hold a password */
	talloc_free(body);
	return ok ? 0 : 400;
}

static int parse_head(void *ctx, const struct cgi_source *src, const struct cgi_limits *lim,
		      struct cgi_request *out, const char **err)
{
	const char *path = env_or(src, "PATH_INFO"), *query = env_or(src, "QUERY_STRING");
	const char *cookies = env_or(src, "HTTP_COOKIE");
	size_t path_len = strlen(path), query_len = strlen(query), cookies_len = strlen(cookies);
	if (path_len > lim->query_bytes || query_len > lim->query_bytes ||
	    cookies_len > lim->query_bytes) {
		*err = "the address or the cookies are too long";
		return 414;
	}
	*err = "that address is not a possible one here";
	out->path = talloc_strdup(ctx, path_len ? path : "/");
	if (!out->path || !path_ok(out->path))
		return 400;
	if (!cgi_urlencoded(ctx, query, query_len, lim->fields, CGI_ONE_LINE, &out->query, err))
		return 400;
	return cgi_cookies(ctx, cookies, cookies_len, lim->fields, &out->cookies, err) ? 0 : 400;
}

int cgi_parse(void *ctx, const struct cgi_source *src, const struct cgi_limits *lim,
	      struct cgi_request *out, const char **err)
{
	struct addr a;
	const char *why;
	*out = (struct cgi_request){.method = parse_method(env_or(src, "REQUEST_METHOD")),
				    .path = "/"};
	out->https = strcmp(env_or(src, "HTTPS"), "on") == 0;
	out->same_origin = origin_ok(src);
	if (addr_parse(env_or(src, "REMOTE_ADDR"), &a, &why))
		addr_format(&a, out->remote);
	if (out->method == CGI_OTHER) {
		*err = "only GET, HEAD and POST are answered here";
		return 405;
	}
	int status = parse_head(ctx, src, lim, out, err);
	if (!status && out->method == CGI_POST)
		status = parse_form(ctx, src, lim, out, err);
	return status;
}
