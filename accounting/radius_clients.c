/*
 * radius_clients - see radius_clients.h.
 *
 * Trusted with: the shared secrets, which are read once and wiped at the end. Diagnostics: *err,
 * and a "radius weak-secret" log line. Known gaps: none.
 */
#include "accounting/radius_clients.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "lib/proc.h"

#define SECRET_MAX  1024
#define SECRET_GOOD 16 /* RFC 2865 section 3 */

struct radius_clients {
	size_t n;
	struct radius_client list[];
};

static char *say(const char *row, const char *what, const char *why)
{
	char *text = NULL;
	if (asprintf(&text, "%s: %s%s", row, what, why) < 0)
		fatal("out of memory");
	return text;
}

/* "ADDRESS[/LENGTH] FILE" parted; NULL when it is not of that form. */
static const char *part_row(const char *row, struct prefix *p, char **err)
{
	char address[PREFIX_STRLEN], why[128];
	size_t n = strcspn(row, " \t");
	const char *file = row + n + strspn(row + n, " \t");
	if (!*file || file[0] != '/' || n >= sizeof address) {
		*err = say(row, "write \"ADDRESS[/LENGTH] /path/to/secret\"", "");
		return NULL;
	}
	memcpy(address, row, n);
	address[n] = '\0';
	if (prefix_parse(address, p, why))
		return file;
	*err = say(row, "", why);
	return NULL;
}

static bool may_be_read(const char *row, const char *file, char **err)
{
	struct stat st;
	if (stat(file, &st) != 0)
		*err = say(row, "", strerror(errno));
	else if (st.st_mode & 07)
		*err = say(row, "everybody may use the secret's file: chmod o= ", file);
	else
		return true;
	return false;
}

static bool read_secret(const char *row, const char *file, struct radius_client *c, char **err)
{
	size_t len = 0;
	if (!may_be_read(row, file, err))
		return false;
	c->secret = proc_read_file(file, SECRET_MAX, &len);
	if (!c->secret) {
		*err = say(row, "", strerror(errno));
		return false;
	}
	c->len = strcspn(c->secret, "\r\n");
	explicit_bzero(c->secret + c->len, len - c->len);
	if (c->len == 0)
		*err =
		    say(row, "the secret's file is empty: put the secret into its first line", "");
	else if (c->len < SECRET_GOOD)
		log_event(LOG_WARNING, "-", "radius", "weak-secret", LS("file", file),
			  LI("bytes", c->len), LI("wanted", SECRET_GOOD));
	return c->len > 0;
}

static bool load_row(const char *row, struct radius_client *c, char **err)
{
	const char *file = part_row(row, &c->prefix, err);
	return file && read_secret(row, file, c, err);
}

struct radius_clients *radius_clients_load(const struct conf_list *rows, char **err)
{
	struct radius_clients *c = calloc(1, sizeof *c + rows->n * sizeof c->list[0]);
	if (!c)
		fatal("out of memory");
	for (; c->n < rows->n; c->n++)
		if (!load_row(rows->items[c->n], &c->list[c->n], err)) {
			c->n++; /* its secret may have been read */
			radius_clients_free(c);
			return NULL;
		}
	return c;
}

const struct radius_client *radius_client_of(const struct radius_clients *c, const struct addr *a)
{
	const struct radius_client *best = NULL;
	for (size_t i = 0; i < c->n; i++)
		if (prefix_contains(&c->list[i].prefix, a) &&
		    (!best || c->list[i].prefix.len > best->prefix.len))
			best = &c->list[i];
	return best;
}

void radius_clients_free(struct radius_clients *c)
{
	for (size_t i = 0; c && i < c->n; i++) {
		if (c->list[i].secret)
			explicit_bzero(c->list[i].secret, c->list[i].len);
		free(c->list[i].secret);
	}
	free(c);
}
