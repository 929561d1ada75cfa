/*
 * cgi - one HTTP request as RFC 3875 hands it to us: environment and standard input, checked and
 * decoded.
 *
 * Nothing here trusts the web server to have cleaned anything. Every name and value handed out is
 * valid UTF-8 without NUL; control characters are refused (form values may hold TAB and line ends,
 * which become LF). A repeated field is an error, so that nobody can say two things at once. All
 * memory is talloc'd under the caller's context.
 */
#ifndef WEBUI_CGI_H
#define WEBUI_CGI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

enum cgi_method { CGI_GET, CGI_HEAD, CGI_POST, CGI_OTHER };

struct cgi_field {
	const char *name, *value;
};

struct cgi_fields {
	struct cgi_field *v;
	size_t n;
};

struct cgi_limits {
	size_t body_bytes;  /* of a POST */
	size_t query_bytes; /* of the query string, of the path and of the Cookie header, each */
	size_t fields;	    /* in a query, a body or a Cookie header */
};

struct cgi_request {
	enum cgi_method method;
	const char *
	    path; /* begins with '/', decoded by the server, no "." or ".." segment, no empty one */
	struct cgi_fields query, form, cookies;
	char remote[ADDR_STRLEN]; /* canonical text of the client's address */
	bool https;
	bool same_origin; /* false when the browser says that another site sent the request */
};

/* Where the environment and the body come from. */
struct cgi_source {
	const char *(*env)(const char *name, void *arg);
	/* Up to len bytes; 0 at the end, -1 on error. */
	long (*read)(void *buf, size_t len, void *arg);
	void *arg;
};

/*
 * Fill out. 0, or the HTTP status to answer with (400, 405, 411, 413, 414, 415) and *err in words
 * (static text). On failure method, remote and https are still set as far as they were understood.
 */
int cgi_parse(void *ctx, const struct cgi_source *src, const struct cgi_limits *lim,
	      struct cgi_request *out, const char **err);

enum cgi_text { CGI_ONE_LINE, CGI_MANY_LINES };
/* application/x-www-form-urlencoded (WHATWG URL 5.1). False: *err says why. */
bool cgi_urlencoded(void *ctx, const char *s, size_t len, size_t max, enum cgi_text kind,
		    struct cgi_fields *out, const char **err);
/* A Cookie header (RFC 6265 5.4). What is not name=value is skipped, not an error; a repeated name
 * is dropped altogether. */
bool cgi_cookies(void *ctx, const char *s, size_t len, size_t max, struct cgi_fields *out,
		 const char **err);

/* The value, or NULL when there is none. */
const char *cgi_get(const struct cgi_fields *f, const char *name);
/* The same with blanks at both ends removed; "" when there is none. A new copy under ctx. */
const char *cgi_trimmed(void *ctx, const struct cgi_fields *f, const char *name);
/* Percent-encoded (RFC 3986 2.1) under ctx, all but unreserved characters and '/'; NULL: no memory.
 */
char *cgi_encode(void *ctx, const char *s);
/* The address of a request as its path and fields make it, without the field but (may be NULL):
 * /who?q=192.0.2.7. Under ctx; NULL: no memory. */
char *cgi_target(void *ctx, const struct cgi_request *r, const char *but);
/* A decimal number in 1..INT64_MAX and nothing else; false otherwise. */
bool cgi_id(const char *text, int64_t *out);

/* True for what may stand in HTML text and JSON: valid UTF-8, and no control characters but those
 * kind allows. */
bool cgi_text_ok(const char *s, size_t len, enum cgi_text kind);

#endif
