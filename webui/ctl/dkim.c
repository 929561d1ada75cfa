/*
 * dkim - keys for signing mail: make one, and show what belongs into the DNS.
 *
 * Works on files alone, without acctd, so that the records can be published before msad signs: a
 * key is made, its record goes into the zone, and a line of the table (msa.dkim) says from when on
 * it signs. Trusted with: making private keys, readable by root and the daemons' group; nothing
 * that exists is overwritten. Diagnostics: on stderr. Known gaps: the DNS is not looked at.
 */
#include <ctype.h>
#include <errno.h>
#include <libgen.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/proc.h"

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

#define MAX_TABLE (16u << 20)
#define MAX_KEY	  65536
#define RSA_BITS  2048

static const struct col made_cols[] = {
    {"FILE", "file", COL_TEXT},
    {"TABLE_LINE", "table_line", COL_TEXT},
    {"RECORD", "record", COL_TEXT},
    COL_END,
};
static const struct col show_cols[] = {
    {"DOMAIN", "domain", COL_TEXT}, {"SELECTOR", "selector", COL_TEXT},
    {"BITS", "bits", COL_NUM},	    {"STATE", "state", COL_TEXT},
    {"FROM", "from_ms", COL_TIME},  {"UNTIL", "until_ms", COL_NEVER},
    {"RECORD", "record", COL_TEXT}, COL_END,
};

/* --- names and records --- */

static bool name_ok(const char *s)
{
	size_t n = strlen(s);
	for (const char *p = s; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '.' && *p != '_')
			return false;
	return n > 0 && n <= 253 && s[0] != '.' && s[0] != '-' && s[n - 1] != '.' &&
	       !strstr(s, "..");
}

/* The public half as a record has it (RFC 6376 3.6.1). NULL: not an RSA key. */
static char *public_text(void *pool, EVP_PKEY *key)
{
	uint8_t *der = NULL;
	int n = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ? i2d_PUBKEY(key, &der) : 0;
	char *out = NULL;
	if (n > 0) {
		out = talloc_size(pool, ((size_t)n + 2) / 3 * 4 + 1);
		EVP_EncodeBlock((unsigned char *)out, der, n);
	}
	OPENSSL_free(der);
	return out;
}

/* A line of a zone: the text in strings of at most 255 octets (RFC 1035 3.3.14). */
static char *zone_line(void *pool, const char *name, const char *value)
{
	char *out = talloc_asprintf(pool, "%s. IN TXT (", name);
	for (size_t len = strlen(value), n; len > 0; value += n, len -= n) {
		n = len < 250 ? len : 250;
		out = talloc_asprintf_append_buffer(out, " \"%.*s\"", (int)n, value);
	}
	return talloc_strdup_append(out, " )");
}

/* "name", "value" and "record" of a key, into o. False: not an RSA key. */
static bool put_record(struct cli *c, json_t *o, const char *domain, const char *selector,
		       EVP_PKEY *key)
{
	char *text = public_text(c->pool, key);
	if (!text)
		return false;
	char *name = talloc_asprintf(c->pool, "%s._domainkey.%s", selector, domain);
	char *value = talloc_asprintf(c->pool, "v=DKIM1; k=rsa; p=%s", text);
	json_object_set_new(o, "bits", json_integer(EVP_PKEY_get_bits(key)));
	json_object_set_new(o, "name", json_string(name));
	json_object_set_new(o, "value", json_string(value));
	json_object_set_new(o, "record", json_string(zone_line(c->pool, name, value)));
	return true;
}

/* --- keygen --- */

/* The folder of a key that --file does not name: dkim beside the configuration. */
static char *default_file(struct cli *c, const char *domain, const char *selector, int *status)
{
	char *conf = talloc_strdup(c->pool, c->conf_file), *real;
	char *dir = talloc_asprintf(c->pool, "%s/dkim", dirname(conf));
	if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
		*status = cli_fail(c, EX_CANTCREAT, "cannot make %s: %s", dir, strerror(errno));
		return NULL;
	}
	/* The table wants paths that begin with /. */
	real = realpath(dir, NULL);
	char *out = talloc_asprintf(c->pool, "%s/%s.%s.pem", real ? real : dir, domain, selector);
	free(real);
	return out;
}

static EVP_PKEY *make_key(struct cli *c)
{
	int64_t bits = RSA_BITS;
	cli_number(c, "bits", &bits);
	return EVP_RSA_gen((unsigned)bits);
}

/* The daemons' group may read it, and nobody else but root. */
static int hand_over(struct cli *c, const char *file)
{
	struct proc_identity id;
	const char *err;
	int status = EX_OK;
	if (!ask_conf(c, &status))
		return status;
	if (!proc_identity(c->conf.user, &id, &err))
		return cli_fail(c, EX_NOUSER, "common.user = \"%s\": %s", c->conf.user, err);
	if (!id.change || chown(file, (uid_t)-1, id.gid) == 0)
		return EX_OK;
	return cli_fail(c, EX_CANTCREAT, "cannot give %s to the group of %s: %s", file,
			c->conf.user, strerror(errno));
}

static int save_key(struct cli *c, const char *file, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	bool ok = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
	long n = ok ? BIO_get_mem_data(bio, &text) : 0;
	if (ok && access(file, F_OK) == 0) {
		errno = EEXIST;
		ok = false;
	} else if (ok) {
		ok = proc_write_file(file, text, (size_t)n, 0640);
	}
	int error = errno;
	if (text)
		explicit_bzero(text, (size_t)n);
	BIO_free(bio);
	return ok ? hand_over(c, file)
		  : cli_fail(c, EX_CANTCREAT, "cannot write %s: %s", file, strerror(error));
}

static int run_keygen(struct cli *c)
{
	const char *domain = c->args[0], *selector = c->args[1], *file = cli_text(c, "file");
	int status = EX_OK;
	if (!name_ok(domain) || !name_ok(selector))
		return cli_fail(c, EX_USAGE, "%s is not a %s", name_ok(domain) ? selector : domain,
				name_ok(domain) ? "selector" : "domain");
	if (file && file[0] != '/')
		return cli_fail(c, EX_USAGE, "--file %s: the path must begin with /", file);
	if (!file)
		file = default_file(c, domain, selector, &status);
	EVP_PKEY *key = file ? make_key(c) : NULL;
	if (file && !key)
		status = cli_fail(c, EX_SOFTWARE, "OpenSSL does not make such a key");
	if (key)
		status = save_key(c, file, key);
	if (key && status == EX_OK) {
		json_t *o = json_pack("{s:s,s:s,s:s}", "domain", domain, "selector", selector,
				      "file", file);
		put_record(c, o, domain, selector, key);
		json_object_set_new(
		    o, "table_line",
		    json_string(talloc_asprintf(c->pool, "%s %s %s", domain, selector, file)));
		out_result(c, made_cols, o);
		json_decref(o);
	}
	EVP_PKEY_free(key);
	return status;
}

/* --- show --- */

struct table_conf {
	struct conf_common common;
	char *dkim;
};
static const struct conf_key table_keys[] = {
    CONF_COMMON_ROWS,
    {"msa", "dkim", CONF_PATH, offsetof(struct table_conf, dkim), "", 0, 0, NULL, false,
     "file: DKIM keys by domain", true},
};

/* The table of the configuration; NULL with *status. */
static const char *table_of_conf(struct cli *c, int *status)
{
	struct table_conf *conf = talloc_zero(c->pool, struct table_conf);
	char *err = NULL;
	if (!conf_load(c->pool, c->conf_file, table_keys,
		       sizeof(table_keys) / sizeof(table_keys[0]), conf, &err))
		*status = cli_fail(c, EX_CONFIG, "%s", err);
	else if (conf->dkim[0] == '\0')
		*status = cli_fail(c, CLI_NO, "msa.dkim is empty: nothing is signed");
	return *status == EX_OK ? conf->dkim : NULL;
}

static EVP_PKEY *read_key(struct cli *c, const char *file, int *status)
{
	size_t len;
	char *text = proc_read_file(file, MAX_KEY, &len);
	if (!text) {
		*status = cli_fail(c, EX_NOINPUT, "cannot read %s: %s", file, strerror(errno));
		return NULL;
	}
	BIO *bio = BIO_new_mem_buf(text, (int)len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;
	BIO_free(bio);
	explicit_bzero(text, len);
	free(text);
	if (!key)
		*status = cli_fail(c, EX_DATAERR, "%s is not a private key in PEM", file);
	return key;
}

/* from=TIME or until=TIME; what is wrong with it is msad's to say. */
static void read_times(const char *word, int64_t *from_ms, int64_t *until_ms)
{
	const char *err;
	if (strncmp(word, "from=", 5) == 0)
		clock_parse(word + 5, 0, from_ms, &err);
	else if (strncmp(word, "until=", 6) == 0)
		clock_parse(word + 6, 0, until_ms, &err);
}

static const char *state_of(int64_t now, int64_t from_ms, int64_t until_ms)
{
	if (now < from_ms)
		return "waiting";
	return until_ms && now >= until_ms ? "over" : "signing";
}

/* The next word of a line, ended where it stands; NULL at the end. */
static char *next_word(char **line)
{
	char *word;
	do {
		word = strsep(line, " \t\r");
	} while (word && *word == '\0');
	return word;
}

static int show_line(struct cli *c, char *line, json_t *rows)
{
	char *field[3], *word;
	int64_t from_ms = 0, until_ms = 0;
	int status = EX_OK;
	for (int i = 0; i < 3; i++)
		field[i] = next_word(&line);
	if (!field[0] || field[0][0] == '#')
		return EX_OK;
	while ((word = next_word(&line)) != NULL)
		read_times(word, &from_ms, &until_ms);
	if (!field[2] || !name_ok(field[0]) || !name_ok(field[1]))
		return cli_fail(c, EX_DATAERR, "%s: DOMAIN SELECTOR KEYFILE is expected", field[0]);
	EVP_PKEY *key = read_key(c, field[2], &status);
	if (!key)
		return status;
	json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:I,s:o}", "domain", field[0], "selector", field[1],
			      "file", field[2], "state", state_of(c->io->now_ms, from_ms, until_ms),
			      "from_ms", (json_int_t)from_ms, "until_ms",
			      until_ms ? json_integer(until_ms) : json_null());
	if (put_record(c, o, field[0], field[1], key))
		json_array_append(rows, o);
	else
		status = cli_fail(c, EX_DATAERR, "%s: an RSA key is expected", field[2]);
	json_decref(o);
	EVP_PKEY_free(key);
	return status;
}

static int run_show(struct cli *c)
{
	int status = EX_OK;
	size_t len;
	const char *file = c->n_args > 0 ? c->args[0] : table_of_conf(c, &status);
	char *text = file ? ask_file(c, file, MAX_TABLE, &len, &status) : NULL;
	json_t *rows = json_array();
	for (char *rest = text, *line; status == EX_OK && (line = strsep(&rest, "\n")) != NULL;)
		status = show_line(c, line, rows);
	if (text && status == EX_OK)
		status = out_list(c, show_cols, rows);
	json_decref(rows);
	return status;
}

static const struct cli_opt keygen_opts[] = {
    {"bits", CLI_INT, "N", "of the RSA key; default 2048", 1024, 4096, false},
    {"file", CLI_TEXT, "FILE",
     "where it goes; default dkim/DOMAIN.SELECTOR.pem beside the configuration", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {"keygen", "DOMAIN SELECTOR",
     "Make a key, and print its DNS record and the line for the table of msa.dkim.",
     "Publish the record first; receivers look for it as soon as the key signs. To replace a key, "
     "give the new line from=TIME and the old one until=TIME, some days later.",
     keygen_opts, run_keygen},
    {"show", "[TABLE]", "List the keys of a table, with their DNS records.",
     "TABLE is the file of msa.dkim when it is not given.", NULL, run_show},
};
const struct cli_noun noun_dkim = {"dkim", "keys that sign mail (DKIM)", CLI_VERBS(verbs)};
