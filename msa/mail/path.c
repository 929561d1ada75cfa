/*
 * path - see path.h.
 *
 * Trusted with: nothing but its arguments; fuzzed by tests/fuzz/msa/fuzz_path.c.
 * Known gaps: local parts are not brought to a normal form (RFC 6532 3.1 leaves that to who made
 * them); an A-label that stands in the address passes without a check of what it encodes.
 */
#include <ctype.h>
#include <idn2.h>
#include <string.h>
#include <strings.h>

#include "lib/addr.h"

#include "msa/mail/path.h"
#include "msa/mail/utf8.h"

static const char needs_utf8[] = "a non-ASCII address needs SMTPUTF8";

/* Of RFC 6531 3.3: whether the octets from 0x80 on are UTF-8 is looked at later. */
static bool is_atext(unsigned char c)
{
	return c >= 0x80 || isalnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool is_dot_string(const char *s, size_t len)
{
	bool atom = false;

	for (size_t i = 0; i < len; i++) {
		if (s[i] == '.' && !atom)
			return false;
		if (s[i] != '.' && !is_atext((unsigned char)s[i]))
			return false;
		atom = s[i] != '.';
	}
	return atom;
}

/* Writes local as it must stand in an address; 0 when it does not fit PATH_LOCAL_MAX. */
static size_t write_local(const char *local, size_t len, char *out)
{
	size_t n = 0;

	if (is_dot_string(local, len)) {
		if (len > PATH_LOCAL_MAX)
			return 0;
		memcpy(out, local, len);
		return len;
	}
	out[n++] = '"';
	for (size_t i = 0; i < len; i++) {
		if (n + 3 > PATH_LOCAL_MAX)
			return 0;
		if (local[i] == '"' || local[i] == '\\')
			out[n++] = '\\';
		out[n++] = local[i];
	}
	if (n + 1 > PATH_LOCAL_MAX)
		return 0;
	out[n++] = '"';
	return n;
}

static bool labels_ok(const char *s, size_t len)
{
	size_t label = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '.') {
			if (label == 0 || s[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if (c >= 0x80 || !(isalnum(c) || c == '-' || c == '_') || (c == '-' && label == 0))
			return false;
		if (++label > 63)
			return false;
	}
	return label > 0 && s[len - 1] != '-';
}

static bool literal_ok(const char *s, size_t len)
{
	char text[ADDR_STRLEN];
	struct addr a;
	const char *err;
	size_t skip = 1;

	if (len < 3 || s[0] != '[' || s[len - 1] != ']')
		return false;
	if (len > 6 && strncasecmp(s + 1, "IPv6:", 5) == 0)
		skip = 6;
	if (len - skip - 1 >= sizeof(text))
		return false;
	memcpy(text, s + skip, len - skip - 1);
	text[len - skip - 1] = '\0';
	if (strlen(text) != len - skip - 1 || !addr_parse(text, &a, &err))
		return false;
	return (skip == 6) == (strchr(text, ':') != NULL);
}

bool path_domain_ok(const char *s, size_t len)
{
	if (len == 0 || len > PATH_DOMAIN_MAX)
		return false;
	return s[0] == '[' ? literal_ok(s, len) : labels_ok(s, len);
}

/* Printable ASCII, or UTF-8 without the C1 controls and what ends a line in Unicode. */
static bool local_ok(const char *s, size_t len)
{
	uint32_t cp;
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		n = utf8_next(s + i, len - i, &cp);
		if (n == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 ||
		    cp == 0x2029)
			return false;
	}
	return true;
}

bool path_make(const char *local, size_t local_len, const char *domain, struct path *out)
{
	size_t dlen = strlen(domain), n;

	memset(out, 0, sizeof(*out));
	if (local_len == 0 || local_len > PATH_LOCAL_MAX || dlen > PATH_DOMAIN_MAX ||
	    !local_ok(local, local_len))
		return false;
	n = write_local(local, local_len, out->text);
	if (n == 0)
		return false;
	memcpy(out->local, local, local_len);
	out->utf8 = utf8_any(local, local_len);
	if (dlen > 0) {
		out->text[n++] = '@';
		for (size_t i = 0; i < dlen; i++)
			out->domain[i] = (char)tolower((unsigned char)domain[i]);
		memcpy(out->text + n, out->domain, dlen);
	}
	return true;
}

/* Reads a local part at *i; its unescaped bytes go to local. */
static bool read_local(const char *s, size_t len, size_t *i, char *local, size_t *n,
		       const char **err)
{
	size_t start = *i;

	*n = 0;
	if (*i < len && s[*i] == '"') {
		for ((*i)++; *i < len && s[*i] != '"'; (*i)++) {
			if (s[*i] == '\\' && ++*i == len)
				break;
			if ((unsigned char)s[*i] < 0x20 || s[*i] == 0x7f) {
				*err = "a control character in the quoted local part";
				return false;
			}
			if (*n == PATH_LOCAL_MAX)
				goto long_local;
			local[(*n)++] = s[*i];
		}
		if (*i >= len) {
			*err = "the quoted local part has no end";
			return false;
		}
		(*i)++;
		if (*n == 0) {
			*err = "the local part is empty";
			return false;
		}
	} else {
		while (*i < len && (is_atext((unsigned char)s[*i]) || s[*i] == '.'))
			(*i)++;
		if (!is_dot_string(s + start, *i - start)) {
			*err = "the local part is not a dot-string or quoted string";
			return false;
		}
		if (*i - start > PATH_LOCAL_MAX)
			goto long_local;
		*n = *i - start;
		memcpy(local, s + start, *n);
	}
	if (*i - start <= PATH_LOCAL_MAX)
		return true;
long_local:
	*err = "the local part is longer than 64 octets";
	return false;
}

static size_t domain_span(const char *s, size_t len, size_t i)
{
	size_t start = i;

	if (i < len && s[i] == '[') {
		while (i < len && s[i] != ']' && s[i] != '>')
			i++;
		return i < len && s[i] == ']' ? i + 1 - start : 0;
	}
	while (i < len && s[i] != '>' && s[i] != ' ')
		i++;
	return i - start;
}

/* How a path is read. */
struct way {
	bool utf8;    /* SMTPUTF8 was said */
	bool bare_ok; /* "Postmaster" alone will do */
};

/* A domain as it is kept; NULL-terminated in out. */
static bool read_domain(const char *s, size_t len, char out[PATH_DOMAIN_MAX + 1])
{
	char *ascii = NULL;
	bool ok;

	if (len > PATH_DOMAIN_MAX)
		return false;
	memcpy(out, s, len);
	out[len] = '\0';
	if (!utf8_any(s, len))
		return path_domain_ok(out, len);
	if (strlen(out) != len || !utf8_valid(s, len) ||
	    idn2_lookup_u8((const uint8_t *)out, (uint8_t **)&ascii,
			   IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return false;
	ok = strlen(ascii) <= PATH_DOMAIN_MAX && labels_ok(ascii, strlen(ascii));
	if (ok)
		memcpy(out, ascii, strlen(ascii) + 1);
	idn2_free(ascii);
	return ok;
}

static bool read_mailbox(const char *s, size_t len, size_t *i, struct path *out, struct way way,
			 const char **err)
{
	char local[PATH_LOCAL_MAX + 1], domain[PATH_DOMAIN_MAX + 1];
	size_t n, d;

	if (!read_local(s, len, i, local, &n, err))
		return false;
	if (utf8_any(local, n) && (!way.utf8 || !local_ok(local, n))) {
		*err = way.utf8 ? "the local part is not UTF-8" : needs_utf8;
		return false;
	}
	if (*i == len || s[*i] != '@') {
		if (way.bare_ok && n == 10 && strncasecmp(local, "postmaster", 10) == 0)
			return path_make(local, n, "", out);
		*err = "the domain is missing";
		return false;
	}
	(*i)++;
	d = domain_span(s, len, *i);
	if (utf8_any(s + *i, d) && !way.utf8) {
		*err = needs_utf8;
		return false;
	}
	if (!read_domain(s + *i, d, domain)) {
		*err = "the domain is not valid";
		return false;
	}
	*i += d;
	if (!path_make(local, n, domain, out)) {
		*err = "the local part is longer than 64 octets";
		return false;
	}
	return true;
}

/* "@one,@two:" before the mailbox: accepted and dropped. */
static bool skip_route(const char *s, size_t len, size_t *i, const char **err)
{
	*err = "the source route is not valid";
	while (*i < len && s[*i] == '@') {
		size_t start = ++*i;

		while (*i < len && s[*i] != ',' && s[*i] != ':' && s[*i] != '>')
			(*i)++;
		if (*i == len || !labels_ok(s + start, *i - start))
			return false;
		if (s[*i] == ':') {
			(*i)++;
			return true;
		}
		if (s[(*i)++] != ',')
			return false;
	}
	return false;
}

static bool parse(const char *s, size_t len, struct path *out, size_t *used, bool utf8,
		  const char **err)
{
	size_t i = 1;

	memset(out, 0, sizeof(*out));
	*used = 0;
	*err = "an address in <> is expected";
	if (len < 2 || s[0] != '<')
		return false;
	if (s[1] == '>') {
		out->null = true;
		*used = 2;
		return true;
	}
	if (s[1] == '@' && !skip_route(s, len, &i, err))
		return false;
	if (!read_mailbox(s, len, &i, out, (struct way){.utf8 = utf8, .bare_ok = i == 1}, err))
		return false;
	if (i == len || s[i] != '>') {
		*err = "the closing > is missing";
		return false;
	}
	*used = i + 1;
	return true;
}

bool path_parse(const char *s, size_t len, struct path *out, size_t *used, const char **err)
{
	return parse(s, len, out, used, false, err);
}

bool path_parse_utf8(const char *s, size_t len, struct path *out, size_t *used, const char **err)
{
	return parse(s, len, out, used, true, err);
}

static bool parse_mailbox(const char *s, size_t len, struct path *out, bool utf8, const char **err)
{
	size_t i = 0;

	memset(out, 0, sizeof(*out));
	if (!read_mailbox(s, len, &i, out, (struct way){.utf8 = utf8}, err))
		return false;
	if (i == len)
		return true;
	*err = "there is more after the address";
	return false;
}

bool path_parse_mailbox(const char *s, size_t len, struct path *out, const char **err)
{
	return parse_mailbox(s, len, out, false, err);
}

bool path_parse_mailbox_utf8(const char *s, size_t len, struct path *out, const char **err)
{
	return parse_mailbox(s, len, out, true, err);
}

bool path_owned(const struct path *account, const struct path *p)
{
	size_t n = strlen(account->local);

	if (p->null || n == 0 || strcmp(account->domain, p->domain) != 0)
		return false;
	return strncasecmp(account->local, p->local, n) == 0 &&
	       (p->local[n] == '\0' || p->local[n] == '+');
}
