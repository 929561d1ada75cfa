/*
 * init - a first configuration.
 *
 * Writes DIR/site.conf, and makes DIR/sekisho.conf read it. Trusted with: creating these two files;
 * nothing that exists is overwritten, and a sekisho.conf that does not read site.conf yet gets one
 * line at its end. Diagnostics: on stderr. Known gaps: keys that an option does not cover are
 * edited by hand.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/proc.h"

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

#define MAX_CONF (4u << 20)

static const char include_line[] = "include(\"site.conf\")\n";

static const char main_text[] =
    "# Sekisho: the configuration of every program; see sekisho.conf(5).\n"
    "# Each key is at its default here. What this site sets is in site.conf and overrides it.\n";

/* --- values --- */

static bool made_of(const char *text, const char *more, size_t max)
{
	size_t n = strlen(text);
	for (const char *p = text; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr(more, *p))
			return false;
	return n > 0 && n <= max;
}

static bool good_values(struct cli *c, const char *hostname, const char *smarthost, int *status)
{
	struct addr a;
	uint16_t port;
	size_t at = 0;
	const char *err = NULL;
	*status = EX_USAGE;
	if (!made_of(hostname, "-.", 253) || !strchr(hostname, '.'))
		cli_fail(c, 0,
			 "%s is not a full host name: give --hostname, such as smtp.isp.example",
			 hostname);
	else if (smarthost && !addr_parse_port(smarthost, &a, &port, &err))
		cli_fail(c, 0, "--smarthost %s: %s; give ADDRESS:PORT", smarthost, err);
	else
		*status = EX_OK;
	for (const char *i; (i = cli_next(c, "interface", &at)) != NULL && *status == EX_OK;) {
		if (!made_of(i, "-._@", IFNAMSIZ - 1))
			*status = cli_fail(c, EX_USAGE, "%s is not the name of an interface", i);
		else if (if_nametoindex(i) == 0)
			cli_warn(c, "there is no interface %s on this machine now", i);
	}
	return *status == EX_OK;
}

static const char *own_hostname(struct cli *c)
{
	char name[256] = "";
	if (gethostname(name, sizeof(name) - 1) != 0)
		return "";
	return talloc_strdup(c->pool, name);
}

static char *interfaces_line(struct cli *c)
{
	char *list = talloc_strdup(c->pool, "");
	size_t at = 0;
	for (const char *i; (i = cli_next(c, "interface", &at)) != NULL;)
		list = talloc_asprintf_append(list, "%s\"%s\"", *list ? ", " : "", i);
	return talloc_asprintf(c->pool, "\t%ssubscriber_interfaces = {%s}\n", *list ? "" : "# ",
			       *list ? list : "\"eth1\"");
}

static char *site_text(struct cli *c, const char *hostname, const char *smarthost)
{
	return talloc_asprintf(
	    c->pool,
	    "# What this site sets; it overrides sekisho.conf. Every key is in sekisho.conf(5).\n"
	    "# After a change: sekishoctl check, then systemctl reload or restart the daemon.\n"
	    "\n"
	    "kernel-rules {\n"
	    "\t# The interfaces behind which the subscribers are: port 25 is closed to what comes "
	    "in there.\n"
	    "%s"
	    "}\n"
	    "\n"
	    "msa {\n"
	    "\t# The name this server says, and that its certificate has.\n"
	    "\thostname = \"%s\"\n"
	    "\t# Where accepted mail goes: ADDRESS:PORT of your outgoing mail server.\n"
	    "\t%ssmarthost = \"%s\"\n"
	    "\t# The mail domain of the accounts; without it the host name above.\n"
	    "\t# sasl_realm = \"isp.example\"\n"
	    "\t# The certificate with its chain, and its key.\n"
	    "\t# tls_cert = \"/etc/sekisho/tls/cert.pem\"\n"
	    "\t# tls_key = \"/etc/sekisho/tls/key.pem\"\n"
	    "}\n",
	    interfaces_line(c), hostname, smarthost ? "" : "# ",
	    smarthost ? smarthost : "192.0.2.10:25");
}

/* --- files --- */

static bool put_all(int fd, const char *text)
{
	size_t n = strlen(text);
	while (n > 0) {
		ssize_t k = write(fd, text, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		text += k;
		n -= (size_t)k;
	}
	return fsync(fd) == 0;
}

/* flags: O_CREAT | O_EXCL for a new file, O_APPEND for one that is there. */
static int write_file(struct cli *c, const char *path, int flags, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
	if (fd < 0)
		return cli_fail(c, EX_CANTCREAT, "%s: %s", path, strerror(errno));
	bool ok = put_all(fd, text);
	int err = errno;
	close(fd);
	return ok ? EX_OK : cli_fail(c, EX_IOERR, "%s: %s", path, strerror(err));
}

static bool reads_site(const char *text)
{
	for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		size_t blank = strspn(p, " \t"), len = strcspn(p, "\n");
		if (strncmp(p + blank, "include", 7) == 0 && memmem(p, len, "site.conf", 9))
			return true;
	}
	return false;
}

/* Makes path read site.conf; *how says what was done. */
static int main_file(struct cli *c, const char *path, const char **how)
{
	size_t len;
	char *text = proc_read_file(path, MAX_CONF, &len);
	if (!text && errno != ENOENT)
		return cli_fail(c, EX_NOINPUT, "%s: %s", path, strerror(errno));
	int status = EX_OK;
	if (!text) {
		*how = "written";
		status = write_file(c, path, O_CREAT | O_EXCL,
				    talloc_asprintf(c->pool, "%s%s", main_text, include_line));
	} else if (reads_site(text)) {
		*how = "kept";
	} else {
		*how = "kept, with a line at its end that reads site.conf";
		status = write_file(c, path, O_APPEND,
				    talloc_asprintf(c->pool, "%s%s",
						    len && text[len - 1] != '\n' ? "\n" : "",
						    include_line));
	}
	free(text);
	return status;
}

static bool folder(struct cli *c, const char *dir, int *status)
{
	if (mkdir(dir, 0755) == 0 || errno == EEXIST)
		return true;
	*status = cli_fail(c, EX_CANTCREAT, "%s: %s", dir, strerror(errno));
	return false;
}

static void next_steps(struct cli *c, const char *site, const char *conf, const char *smarthost)
{
	size_t at = 0;
	FILE *f = c->io->err; /* for the person; the result is on the standard output */
	int n = 1;
	fputs("Next:\n", f);
	fprintf(f, "  %d. In %s set sasl_realm, tls_cert and tls_key%s%s.\n", n++,
		out_escape(c->pool, site), smarthost ? "" : ", smarthost",
		cli_next(c, "interface", &at) ? "" : ", subscriber_interfaces");
	fprintf(f, "  %d. sekishoctl -c %s check\n", n++, out_escape(c->pool, conf));
	fprintf(f, "  %d. systemd-sysusers && systemd-tmpfiles --create\n", n++);
	fprintf(f, "  %d. systemctl enable --now sekisho.target\n", n++);
	fprintf(f, "  %d. sekishoctl operator add YOU --role admin\n", n++);
	fprintf(f, "  %d. sekishoctl subscriber add, lease add, exempt add: who may use port 25\n",
		n);
}

static void report(struct cli *c, const char *site, const char *conf, const char *how,
		   const char *smarthost)
{
	if (c->json) {
		json_t *r =
		    json_pack("{s:s, s:s, s:s}", "site", site, "conf", conf, "conf_is", how);
		out_json(c, r);
		json_decref(r);
		return;
	}
	out_pair(c, 4, "site", out_escape(c->pool, talloc_asprintf(c->pool, "%s: written", site)));
	out_pair(c, 4, "conf", out_escape(c->pool, talloc_asprintf(c->pool, "%s: %s", conf, how)));
	next_steps(c, site, conf, smarthost);
}

static int run_init(struct cli *c)
{
	const char *dir = cli_text(c, "dir") ? cli_text(c, "dir") : "/etc/sekisho";
	const char *smarthost = cli_text(c, "smarthost"), *how = NULL;
	const char *host = cli_text(c, "hostname") ? cli_text(c, "hostname") : own_hostname(c);
	const char *site = talloc_asprintf(c->pool, "%s/site.conf", dir);
	const char *conf = talloc_asprintf(c->pool, "%s/sekisho.conf", dir);
	int status = EX_OK;
	if (!good_values(c, host, smarthost, &status) || !folder(c, dir, &status))
		return status;
	if (access(site, F_OK) == 0)
		return cli_fail(c, EX_CANTCREAT, "%s is there already: edit it, or move it away",
				site);
	status = write_file(c, site, O_CREAT | O_EXCL, site_text(c, host, smarthost));
	if (status == EX_OK)
		status = main_file(c, conf, &how);
	if (status == EX_OK)
		report(c, site, conf, how, smarthost);
	return status;
}

static const struct cli_opt opts[] = {
    {"dir", CLI_TEXT, "D", "the folder, default /etc/sekisho", 0, 0, false},
    {"hostname", CLI_TEXT, "H", "the submission server's name; default this machine's", 0, 0,
     false},
    {"smarthost", CLI_TEXT, "A:P", "address and port of the outgoing mail server", 0, 0, false},
    {"interface", CLI_TEXT, "IF", "an interface with subscribers behind it; may be given again", 0,
     0, true},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {NULL, "", "Write a first configuration, and say what to do next.",
     "site.conf holds what you give here; it must not exist yet. A sekisho.conf that exists is "
     "kept, and gets one line that reads site.conf.",
     opts, run_init},
};
const struct cli_noun noun_init = {"init", "write a first configuration", CLI_VERBS(verbs)};
