/*
 * config - see config.h.
 */
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/proc.h"
#include "ratelimit/answer.h"

#include "msa/config.h"
#include "msa/keyfiles.h"
#include "msa/sizes.h"

#define O(field)  offsetof(struct msa_config, field)
#define RO(field) offsetof(struct route, field)
#define EO(field) offsetof(struct msa_realm, field)
#define DAY	  (INT64_C(86400) * 1000)
#define MB	  (INT64_C(1) << 20)

const struct conf_key msa_keys[] = {
    CONF_COMMON_ROWS,
    {"msa", "hostname", CONF_STRING, O(hostname), "", 0, 0, NULL, false,
     "this server's name; empty: the system's", false},
    {"msa", "listen_submission", CONF_LIST, O(listen_submission), "0.0.0.0:587 [::]:587", 0, 0,
     NULL, false, "submission with STARTTLS", false},
    {"msa", "listen_submissions", CONF_LIST, O(listen_submissions), "0.0.0.0:465 [::]:465", 0, 0,
     NULL, false, "submission with TLS from the first byte", false},
    {"msa", "proxy_from", CONF_LIST, O(proxy_from), "", 0, 0, NULL, true,
     "addresses and prefixes of proxies that say who the client is (PROXY protocol)", false},
    {"msa", "tls_cert", CONF_PATH, O(tls_cert), "/etc/sekisho/tls/cert.pem", 0, 0, NULL, true,
     "certificate chain, PEM; read again on reload", false},
    {"msa", "tls_key", CONF_PATH, O(tls_key), "/etc/sekisho/tls/key.pem", 0, 0, NULL, true,
     "its key, PEM", false},
    {"msa", "tls_certs", CONF_LIST, O(tls_certs), "", 0, 0, NULL, true,
     "further ones, by name: \"CERT KEY [NAME ...]\" or \"FOLDER\"", false},
    {"msa", "tls_policy", CONF_ENUM, O(tls_policy), "intermediate", 0, 0, "intermediate|modern",
     true, "intermediate: TLS 1.2 and 1.3; modern: 1.3 alone", false},
    {"msa", "tls_ticket_period", CONF_DURATION, O(tls_ticket_period), "12h", 60000, 3 * DAY, NULL,
     true, "ticket keys are renewed so often, and accepted as long again", false},
    {"msa", "tls_client_ca", CONF_PATH, O(tls_client_ca), "", 0, 0, NULL, true,
     "who may have signed client certificates (EXTERNAL), PEM; empty: none are asked for", false},
    {"msa", "metrics", CONF_STRING, O(metrics), "127.0.0.1:9426", 0, 0, NULL, false,
     "where GET /metrics is answered; empty: nowhere", false},

    {"msa", "auth_mechanisms", CONF_LIST, O(auth_mechanisms),
     "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN", 0, 0, NULL, false,
     "offered in AUTH, best first", false},
    {"msa", "auth_mechanisms_of", CONF_LIST, O(auth_mechanisms_of), "", 0, 0, NULL, false,
     "\"ADDRESS:PORT MECHANISM ...\": others for some listeners", false},
    {"msa", "auth_free_failures", CONF_INT, O(auth_free_failures), "10", 0, 100000, NULL, true,
     "failed logins of an account, or of a network, before it has to wait", false},
    {"msa", "auth_max_wait", CONF_DURATION, O(auth_max_wait), "15m", 0, DAY, NULL, true,
     "the wait doubles with each further one up to this; 0: nobody waits", false},
    {"msa", "auth_spray", CONF_INT, O(auth_spray), "10", 0, GUARD_SPRAY_MAX, NULL, true,
     "accounts that fail from one network in an hour: told as password spraying; 0: never", false},
    {"msa", "auth_spray_wide", CONF_INT, O(auth_spray_wide), "100", 0, 1000000, NULL, true,
     "accounts that fail from many networks in an hour, far more than usual: told too; 0: never",
     false},
    {"msa", "auth_workers", CONF_INT, O(auth_workers), "2", 1, 64, NULL, false,
     "processes that check passwords", false},
    {"msa", "login_case", CONF_ENUM, O(login_case), LOGIN_CASE_DEFAULT, 0, 0, LOGIN_CASE_CHOICES, false,
     "what is before the @ of a login", false},
    {"msa", "sasl_realm", CONF_STRING, O(sasl_realm), "", 0, 0, NULL, false,
     "completes a bare login, and is the mail domain; empty: hostname", false},
    {"msa", "sasl_realm_of", CONF_LIST, O(sasl_realm_of), "", 0, 0, NULL, true,
     "\"ADDRESS:PORT DOMAIN\": what completes a bare login at some listeners", false},
    {"msa", "sasldb", CONF_PATH, O(sasldb), "/etc/sekisho/sasldb2", 0, 0, NULL, false,
     "Cyrus SASL's own password database", false},
    {"msa", "sasl_conf_path", CONF_PATH, O(sasl_conf_path), "", 0, 0, NULL, false,
     "folder with a Cyrus SASL sekisho.conf, used instead of sasldb", false},

    {"msa", "help_url", CONF_STRING, O(help_url), "", 0, 0, NULL, true,
     "page for people whose account is suspended or held, named in replies; empty: none", false},
    {"msa", "tell_held", CONF_BOOL, O(tell_held), "true", 0, 0, NULL, true,
     "with help_url: the reply to a message that is held says so", false},
    {"msa", "mail_from", CONF_ENUM, O(mail_from), "rewrite", 0, 0, "rewrite|owned|any", true,
     "envelope senders an account may use", false},
    {"msa", "from_header", CONF_ENUM, O(from_header), "any", 0, 0, "any|owned", true,
     "addresses From: may name", false},
    {"msa", "sender", CONF_ENUM, O(sender), "when-different", 0, 0, "when-different|always|off",
     true, "when Sender: names the account", false},
    {"msa", "identities", CONF_PATH, O(identities), "", 0, 0, NULL, true,
     "file: further addresses of accounts, rules of domains; read again on reload", false},
    {"msa", "hide_client", CONF_BOOL, O(hide_client), "false", 0, 0, NULL, true,
     "Received: does not name the client", false},
    {"msa", "auth_results", CONF_BOOL, O(auth_results), "true", 0, 0, NULL, true,
     "Authentication-Results: names the account", false},
    {"msa", "trace_key", CONF_PATH, O(trace_key), "", 0, 0, NULL, false,
     "key of the trace tokens; made when missing; empty: STATE_DIR/msa/trace.key", false},
    {"msa", "cfbl_address", CONF_STRING, O(cfbl_address), "", 0, 0, NULL, true,
     "where complaints are asked for (CFBL-Address:); empty: nowhere", false},
    {"msa", "dkim", CONF_PATH, O(dkim), "", 0, 0, NULL, true,
     "file: DKIM keys by domain; read again on reload; empty: no signature", false},
    {"msa", "batv", CONF_BOOL, O(batv), "true", 0, 0, NULL, true, "tag envelope senders (prvs=)",
     false},
    {"msa", "batv_keys", CONF_PATH, O(batv_keys), "", 0, 0, NULL, false,
     "tag keys; made when missing; empty: STATE_DIR/msa/batv.keys", false},
    {"msa", "bounce_listen", CONF_LIST, O(bounce_listen), "", 0, 0, NULL, false,
     "policy service that checks tags of bounces, for inbound mail servers", false},
    {"msa", "bounce_check", CONF_ENUM, O(bounce_check), "tag", 0, 0, "log|tag|reject", true,
     "what it says of a bounce whose tag is wrong", false},
    {"msa", "bounce_strict", CONF_LIST, O(bounce_strict), "", 0, 0, NULL, true,
     "domains all of whose mail leaves here: reject refuses bounces without a tag, too", false},
    {"msa", "limiter_down", CONF_ENUM, O(limiter_down), "defer", 0, 0, "defer|accept", true,
     "when sekisho-ratelimitd does not answer", false},
    {"msa", "limiter_deadline", CONF_DURATION, O(limiter_deadline), "500ms", 10, 30000, NULL, false,
     "how long it may take", false},

    {"msa", "max_message", CONF_SIZE, O(max_message), "25M", 1024, 1024 * MB, NULL, true,
     "octets a message", false},
    {"msa", "max_message_of", CONF_LIST, O(max_message_of), "", 0, 0, NULL, true,
     "\"ACCOUNT OCTETS\" or \"@DOMAIN OCTETS\": other limits for some", false},
    {"msa", "max_recipients", CONF_INT, O(max_recipients), "100", 1, 10000, NULL, true,
     "recipients a message", false},
    {"msa", "max_hops", CONF_INT, O(max_hops), "50", 5, 1000, NULL, true,
     "Received: fields a message may come with", false},
    {"msa", "max_sessions", CONF_INT, O(max_sessions), "1000", 1, 100000, NULL, true,
     "sessions at once", false},
    {"msa", "max_sessions_per_client", CONF_INT, O(max_sessions_per_client), "100", 1, 100000, NULL,
     true, "of one address", false},
    {"msa", "max_in_flight", CONF_SIZE, O(max_in_flight), "256M", MB, 1024 * 1024 * MB, NULL, true,
     "memory for messages being received", false},
    {"msa", "max_commands", CONF_INT, O(max_commands), "10000", 10, 100000000, NULL, true,
     "commands a session", false},
    {"msa", "max_errors", CONF_INT, O(max_errors), "20", 1, 10000, NULL, true, "errors a session",
     false},
    {"msa", "max_idle_commands", CONF_INT, O(max_idle_commands), "100", 10, 1000000, NULL, true,
     "between two messages, that bring none on: NOOP, RSET, VRFY, HELP, EHLO", false},
    {"msa", "free_errors", CONF_INT, O(free_errors), "5", 0, 10000, NULL, true,
     "errors a session that are answered at once", false},
    {"msa", "error_delay", CONF_DURATION, O(error_delay), "1s", 0, 60000, NULL, true,
     "later ones, and failed logins, are answered so late", false},
    {"msa", "max_auth_failures", CONF_INT, O(max_auth_failures), "3", 1, 100, NULL, true,
     "failed logins a session", false},
    {"msa", "greet_delay", CONF_DURATION, O(greet_delay), "0", 0, 60000, NULL, true,
     "who speaks before the greeting, that comes so late, is sent away; 0: no wait", false},
    {"msa", "min_rate", CONF_INT, O(min_rate), "100", 0, 1000000, NULL, true,
     "octets a second a message must come with; 0: any", false},
    {"msa", "min_rate_after", CONF_DURATION, O(min_rate_after), "1m", 1000, DAY, NULL, true,
     "the time over which that is measured", false},
    {"msa", "body_8bit", CONF_ENUM, O(body_8bit), "accept", 0, 0, "accept|declared", true,
     "8-bit text of clients that do not say BODY=8BITMIME", false},
    {"msa", "header_8bit", CONF_ENUM, O(header_8bit), "smtputf8", 0, 0, "accept|smtputf8", true,
     "non-ASCII headers of clients that do not say SMTPUTF8", false},
    {"msa", "login_timeout", CONF_DURATION, O(login_timeout), "2m", 1000, DAY, NULL, true,
     "a session must be logged in after this", false},
    {"msa", "idle_timeout", CONF_DURATION, O(idle_timeout), "5m", 1000, DAY, NULL, true,
     "without a byte", false},
    {"msa", "session_timeout", CONF_DURATION, O(session_timeout), "1h", 10000, DAY, NULL, true,
     "longest session", false},
    {"msa", "handover_timeout", CONF_DURATION, O(handover_timeout), "10m", 0, DAY, NULL, true,
     "for sessions of the program before an upgrade", false},
    {"msa", "stop_timeout", CONF_DURATION, O(stop_timeout), "10s", 0, 300000, NULL, true,
     "for messages under way when stopping", false},

    {"msa", "smarthost", CONF_STRING, O(smarthost), "127.0.0.1:25", 0, 0, NULL, true,
     "where mail goes that no route is for: HOST[:PORT], a route's name, or mx", false},
    {"msa", "smarthost_name", CONF_STRING, O(smarthost_name), "", 0, 0, NULL, true,
     "the name in its certificate, for mail that requires TLS; empty: its address", false},
    {"msa", "smarthost_ca", CONF_PATH, O(smarthost_ca), "", 0, 0, NULL, true,
     "who may have signed it, PEM; empty: relay_ca", false},
    {"msa", "relay_tls", CONF_ENUM, O(relay_tls), "dane", 0, 0, ROUTE_TLS_WORDS, true,
     "TLS towards mail servers, where no route says otherwise", false},
    {"msa", "relay_ca", CONF_PATH, O(relay_ca), "", 0, 0, NULL, false,
     "authorities of mail servers, PEM; empty: the system's", false},
    {"msa", "relay_source", CONF_LIST, O(relay_source), "", 0, 0, NULL, true,
     "local address of each family that connections come from; empty: the system's choice", false},
    {"msa", "transport_map", CONF_PATH, O(transport_map), "", 0, 0, NULL, true,
     "file: which address or domain goes where; read again on reload", false},
    {"msa", "fallback_route", CONF_STRING, O(fallback_route), "", 0, 0, NULL, true,
     "for mail that was deferred fallback_after times; empty: none", false},
    {"msa", "fallback_after", CONF_INT, O(fallback_after), "3", 1, 1000, NULL, true, "attempts",
     false},
    {"msa", "suspect_route", CONF_STRING, O(suspect_route), "", 0, 0, NULL, true,
     "for mail of accounts under suspicion; empty: as other mail", false},
    {"msa", "own_names", CONF_LIST, O(own_names), "", 0, 0, NULL, false,
     "names and addresses that are this server in MX records, beside hostname", false},
    {"msa", "dns_server", CONF_STRING, O(dns_server), "", 0, 0, NULL, false,
     "resolver that is asked for mail servers; empty: those of /etc/resolv.conf", false},
    {"msa", "dns_trust_anchor", CONF_PATH, O(dns_trust_anchor), "", 0, 0, NULL, false,
     "DNSSEC trust anchors, for DANE; empty: nothing is validated, and there is no DANE", false},
    {"msa", "mta_sts", CONF_BOOL, O(mta_sts), "true", 0, 0, NULL, false, "heed MTA-STS policies",
     false},
    {"msa", "tlsrpt", CONF_BOOL, O(tlsrpt), "false", 0, 0, NULL, false,
     "send the reports of TLS that domains ask for (RFC 8460)", false},
    {"msa", "postmaster", CONF_STRING, O(postmaster), "", 0, 0, NULL, false,
     "sender of our notifications; empty: postmaster@REALM", false},
    {"msa", "retry_min", CONF_DURATION, O(retry_min), "5m", 1000, DAY, NULL, false, "first retry",
     false},
    {"msa", "retry_max", CONF_DURATION, O(retry_max), "4h", 1000, 7 * DAY, NULL, false,
     "longest wait between retries", false},
    {"msa", "lifetime", CONF_DURATION, O(lifetime), "5d", 1000, 60 * DAY, NULL, false,
     "then the sender gets a failure notice", false},
    {"msa", "delay_notice", CONF_DURATION, O(delay_notice), "4h", 0, 60 * DAY, NULL, false,
     "then the sender is told once that it is late; 0: never", false},
    {"msa", "notices_per_hour", CONF_INT, O(notices_per_hour), "30", 0, 1000000, NULL, false,
     "notices to one address; what is more comes as one summary; 0: any number", false},
    {"msa", "answers", CONF_PATH, O(answers), "", 0, 0, NULL, true,
     "file: what answers of mail servers mean, beside what is built in; read again on reload",
     false},
    {"msa", "max_queue", CONF_SIZE, O(max_queue), "4G", MB, 0x7fffffffffffffff, NULL, false,
     "octets of the whole queue", false},
    {"msa", "spool_reserve", CONF_SIZE, O(spool_reserve), "64M", 0, 0x7fffffffffffffff, NULL, false,
     "octets of its disk that new mail leaves free", false},
    {"msa", "max_held_per_account", CONF_INT, O(max_held_per_account), "10000", 1, 100000000, NULL,
     false, "messages", false},
    {"msa", "relay_connections", CONF_INT, O(relay_connections), "20", 1, 1000, NULL, false,
     "connections to mail servers at once", false},
    {"msa", "destination_connections", CONF_INT, O(destination_connections), "20", 1, 1000, NULL,
     true, "of them to one destination, where no route says otherwise", false},
    {"msa", "destination_rate", CONF_INT, O(destination_rate), "0", 0, 60000, NULL, true,
     "messages a minute to one destination; 0: any", false},
    {"msa", "connection_messages", CONF_INT, O(connection_messages), "100", 0, 1000000, NULL, true,
     "messages a connection; 0: any", false},
    {"msa", "pause_min", CONF_DURATION, O(pause_min), "1s", 100, 3600000, NULL, false,
     "first pause of a destination that takes no connection; it doubles", false},
    {"msa", "pause_max", CONF_DURATION, O(pause_max), "15m", 100, DAY, NULL, false,
     "longest one; 30s where the hosts are configured", false},
    {"msa", "relay_timeout", CONF_DURATION, O(relay_timeout), "5m", 1000, 3600000, NULL, false,
     "of each step with a mail server", false},
    {"route", "", CONF_GROUP, O(routes), NULL, 0, sizeof(struct route), NULL, true, NULL, false},
    {"route", "hosts", CONF_LIST, RO(hosts), "", 0, 0, NULL, true,
     "\"[PREFERENCE ]HOST[:PORT]\" or \"[PREFERENCE ]mx:DOMAIN\"; none: by MX records", false},
    {"route", "tls", CONF_ENUM, RO(tls), "dane", 0, 0, ROUTE_TLS_WORDS, true, "TLS towards them",
     false},
    {"route", "tls_name", CONF_STRING, RO(tls_name), "", 0, 0, NULL, true,
     "name in their certificates; empty: the host's", false},
    {"route", "tls_ca", CONF_PATH, RO(tls_ca), "", 0, 0, NULL, true,
     "who may have signed them, PEM; empty: relay_ca", false},
    {"route", "auth_user", CONF_STRING, RO(auth_user), "", 0, 0, NULL, true,
     "login; needs tls = encrypt or verify", false},
    {"route", "auth_password_file", CONF_PATH, RO(auth_password_file), "", 0, 0, NULL, true,
     "file whose first line is the password", false},
    {"route", "source", CONF_LIST, RO(source), "", 0, 0, NULL, true, "local address of each family",
     false},
    {"route", "lmtp", CONF_BOOL, RO(lmtp), "false", 0, 0, NULL, true, "they speak LMTP", false},
    {"route", "connections", CONF_INT, RO(connections), "20", 1, 1000, NULL, true,
     "at once, to a destination", false},
    {"route", "rate", CONF_INT, RO(rate), "0", 0, 60000, NULL, true,
     "messages a minute to a destination; 0: any", false},
    {"route", "messages", CONF_INT, RO(per_connection), "100", 0, 1000000, NULL, true,
     "a connection; 0: any", false},
    {"realm", "", CONF_GROUP, O(realms), NULL, 0, sizeof(struct msa_realm), NULL, true, NULL,
     false},
    {"realm", "domains", CONF_LIST, EO(domains), "", 0, 0, NULL, true,
     "whose accounts it is about: what is after the @ of the login", false},
    {"realm", "auth_mechanisms", CONF_LIST, EO(auth_mechanisms), "", 0, 0, NULL, true,
     "they may log in with; none: any that the listener offers", false},
    {"realm", "listeners", CONF_LIST, EO(listeners), "", 0, 0, NULL, true,
     "ADDRESS:PORT they may log in at; none: any", false},
    {"realm", "sasldb", CONF_PATH, EO(sasldb), "", 0, 0, NULL, false,
     "a back end of its own: Cyrus SASL's password database", false},
    {"realm", "sasl_conf_path", CONF_PATH, EO(sasl_conf_path), "", 0, 0, NULL, false,
     "a back end of its own: folder with a Cyrus SASL sekisho.conf", false},
    {"realm", "auth_workers", CONF_INT, EO(auth_workers), "2", 1, 64, NULL, false,
     "processes that check passwords for its own back end", false},
};
const size_t msa_n_keys = sizeof(msa_keys) / sizeof(*msa_keys);

static bool host_port(const char *text)
{
	struct addr a;
	uint16_t port;
	const char *err;

	return addr_parse_port(text, &a, &port, &err) && port != 0;
}

static bool check_listen(void *ctx, const struct conf_list *l, const char *name, char **err)
{
	for (size_t i = 0; i < l->n; i++) {
		if (host_port(l->items[i]))
			continue;
		*err = talloc_asprintf(ctx, "msa.%s: %s is not ADDRESS:PORT", name, l->items[i]);
		return false;
	}
	return true;
}

/* Paths; whether they can be read is seen when they are. */
static bool check_certs(void *ctx, const struct conf_list *l, char **err)
{
	for (size_t i = 0; i < l->n; i++) {
		const char *s = l->items[i], *key = s + strcspn(s, " ");

		key += strspn(key, " ");
		if (s[0] == '/' && (*key == '\0' || *key == '/'))
			continue;
		*err = talloc_asprintf(ctx,
				       "msa.tls_certs: \"%s\" is neither \"CERT KEY [NAME ...]\" "
				       "nor \"FOLDER\", with full paths",
				       s);
		return false;
	}
	return true;
}

static bool check_proxies(void *ctx, struct msa_config *c, char **err)
{
	char why[128];

	c->proxies = talloc_zero_array(c, struct prefix, (unsigned)c->proxy_from.n);
	for (size_t i = 0; i < c->proxy_from.n; i++) {
		if (prefix_parse(c->proxy_from.items[i], &c->proxies[i], why))
			continue;
		*err = talloc_asprintf(ctx, "msa.proxy_from: %s", why);
		return false;
	}
	return true;
}

static void lower(char *s)
{
	for (; *s; s++)
		*s = (char)tolower((unsigned char)*s);
}

/* Names and addresses that the operator gave, and where we listen. */
static void name_self(struct msa_config *c)
{
	const struct conf_list *const lists[4] = {&c->own_names, &c->listen_submission,
						  &c->listen_submissions, &c->bounce_listen};

	c->self = talloc_strdup(c, "");
	for (size_t k = 0; k < 4; k++)
		for (size_t i = 0; i < lists[k]->n; i++)
			c->self = talloc_asprintf_append(c->self, "%s%s", c->self[0] ? " " : "",
							 lists[k]->items[i]);
}

static void fill_in(struct msa_config *c)
{
	char name[256] = "";

	if (c->hostname[0] == '\0' && gethostname(name, sizeof(name) - 1) == 0)
		c->hostname = talloc_strdup(c, name);
	if (c->sasl_realm[0] == '\0')
		c->sasl_realm = talloc_strdup(c, c->hostname);
	lower(c->sasl_realm);
	if (c->postmaster[0] == '\0')
		c->postmaster = talloc_asprintf(c, "postmaster@%s", c->sasl_realm);
	if (c->batv_keys[0] == '\0')
		c->batv_keys = talloc_asprintf(c, "%s/msa/batv.keys", c->common.state_dir);
	name_self(c);
	if (c->trace_key[0] == '\0')
		c->trace_key = talloc_asprintf(c, "%s/msa/trace.key", c->common.state_dir);
}

static bool check_cfbl(void *ctx, struct msa_config *c, char **err)
{
	struct path p;
	const char *why;

	c->cfbl_domain = "";
	if (c->cfbl_address[0] == '\0')
		return true;
	if (!path_parse_mailbox(c->cfbl_address, strlen(c->cfbl_address), &p, &why)) {
		*err = talloc_asprintf(ctx, "msa.cfbl_address: \"%s\" is not an address: %s",
				       c->cfbl_address, why);
		return false;
	}
	c->cfbl_domain = talloc_strdup(c, p.domain);
	return true;
}

static int free_answers(struct answer_table **t)
{
	answer_table_free(*t);
	return 0;
}

/* The table goes with the configuration. */
static bool read_answers(void *ctx, struct msa_config *c, char **err)
{
	struct answer_table **holder = talloc_zero(c, struct answer_table *);
	char *why = NULL;

	if (!c->answers[0])
		return true;
	if (!holder)
		fatal("out of memory");
	talloc_set_destructor(holder, free_answers);
	*holder = c->answer_table = answer_load(c->answers, &why);
	if (!c->answer_table)
		*err = talloc_asprintf(ctx, "msa.answers: %s", why ? why : "out of memory");
	free(why);
	return c->answer_table;
}

/* The files the configuration names: all of it is there, or nothing changes. */
static bool read_files(void *ctx, struct msa_config *c, char **err)
{
	char *why = NULL;
	bool ok = true;

	if (!msa_config_routes(ctx, c, err))
		return false;
	if (c->identities[0]) {
		c->policy.identities = keyfiles_identities(c, c->identities, &why);
		ok = c->policy.identities;
	}
	if (ok && c->dkim[0]) {
		c->dkim_table = keyfiles_dkim(c, c->dkim, &why);
		ok = c->dkim_table;
	}
	if (!ok)
		*err = talloc_strdup(ctx, why);
	return ok && read_answers(ctx, c, err);
}

/* It goes into replies. */
static bool url_ok(const char *url)
{
	size_t n = 0;

	while (url[n] > ' ' && url[n] < 0x7f)
		n++;
	return url[n] == '\0' && n <= 200;
}

static bool check(void *ctx, struct msa_config *c, char **err)
{
	struct path p;
	const char *why;

	if (!path_domain_ok(c->hostname, strlen(c->hostname)))
		*err = talloc_asprintf(ctx, "msa.hostname: \"%s\" is not a host name", c->hostname);
	else if (!path_domain_ok(c->sasl_realm, strlen(c->sasl_realm)))
		*err =
		    talloc_asprintf(ctx, "msa.sasl_realm: \"%s\" is not a domain", c->sasl_realm);
	else if (!path_parse_mailbox(c->postmaster, strlen(c->postmaster), &p, &why))
		*err = talloc_asprintf(ctx, "msa.postmaster: \"%s\" is not an address: %s",
				       c->postmaster, why);
	else if (c->listen_submission.n + c->listen_submissions.n == 0)
		*err = talloc_strdup(
		    ctx, "msa.listen_submission and msa.listen_submissions are both empty");
	else if (!url_ok(c->help_url))
		*err = talloc_strdup(
		    ctx, "msa.help_url is not printable ASCII without blanks, 200 at most");
	else if (c->pause_min > c->pause_max)
		*err = talloc_strdup(ctx, "msa.pause_min is longer than msa.pause_max");
	else if (c->retry_min > c->retry_max)
		*err = talloc_strdup(ctx, "msa.retry_min is longer than msa.retry_max");
	else if (c->max_message > c->max_in_flight)
		*err = talloc_strdup(ctx, "msa.max_message is larger than msa.max_in_flight");
	else
		return check_listen(ctx, &c->listen_submission, "listen_submission", err) &&
		       check_listen(ctx, &c->listen_submissions, "listen_submissions", err) &&
		       check_listen(ctx, &c->bounce_listen, "bounce_listen", err) &&
		       check_certs(ctx, &c->tls_certs, err) && check_proxies(ctx, c, err) &&
		       msa_config_login(ctx, c, err) && check_cfbl(ctx, c, err);
	return false;
}

static void make_policy(struct msa_config *c)
{
	c->guard = (struct guard_config){.free = c->auth_free_failures,
					 .max_wait_ms = c->auth_max_wait,
					 .spray = c->auth_spray,
					 .spray_wide = c->auth_spray_wide};
	c->policy = (struct smtp_policy){
	    .hostname = c->hostname,
	    .local_domain = c->sasl_realm,
	    .mechs = (const char *const *)c->auth_mechanisms.items,
	    .n_mechs = c->auth_mechanisms.n,
	    .max_message = c->max_message,
	    .max_rcpts = c->max_recipients,
	    .max_commands = c->max_commands,
	    .max_errors = c->max_errors,
	    .max_auth_failures = c->max_auth_failures,
	    .session_ms = c->session_timeout,
	    .max_hops = (int)c->max_hops,
	    .rules = {.mail_from = (enum mail_from_mode)c->mail_from,
		      .from_header = (enum from_header_mode)c->from_header,
		      .sender = (enum sender_mode)c->sender,
		      .batv = c->batv,
		      .hide_client = c->hide_client,
		      .auth_results = c->auth_results},
	    .limiter_down = (enum limiter_down)c->limiter_down,
	    .sizes = c->sizes,
	    .n_sizes = c->max_message_of.n,
	    .max_idle_commands = c->max_idle_commands,
	    .free_errors = c->free_errors,
	    .error_delay_ms = c->error_delay,
	    .strict_8bit = c->body_8bit == 1,
	    .strict_header = c->header_8bit == 1,
	    .help = c->help_url[0] ? talloc_asprintf(c, "; see %s", c->help_url) : "",
	    .tell_held = c->tell_held && c->help_url[0],
	};
}

struct msa_config *msa_config_load(void *ctx, const char *file, char **err)
{
	struct msa_config *c = talloc_zero(ctx, struct msa_config);

	if (!conf_load(c, file, msa_keys, msa_n_keys, c, err)) {
		talloc_steal(ctx, *err);
		talloc_free(c);
		return NULL;
	}
	fill_in(c);
	if (check(ctx, c, err) &&
	    sizes_parse(ctx, c, &c->max_message_of, c->max_in_flight, &c->sizes, err)) {
		make_policy(c);
		if (read_files(ctx, c, err))
			return c;
	}
	talloc_free(c);
	return NULL;
}

bool msa_config_may_reload(void *ctx, const struct msa_config *old, const struct msa_config *fresh,
			   char **err)
{
	return conf_may_reload(ctx, msa_keys, msa_n_keys, old, fresh, err) &&
	       msa_config_same_backends(ctx, old, fresh, err);
}

void msa_config_queue(const struct msa_config *c, struct queue_config *out)
{
	*out = (struct queue_config){
	    .state_dir = c->common.state_dir,
	    .hostname = c->hostname,
	    .smarthost = c->smarthost,
	    .routes = c->route_table,
	    .dns_server = c->dns_server,
	    .dns_anchor = c->dns_trust_anchor,
	    .self = c->self,
	    .relay_ca = c->relay_ca,
	    .mta_sts = c->mta_sts,
	    .tlsrpt = c->tlsrpt,
	    .pause_min_ms = c->pause_min,
	    .pause_max_ms = c->pause_max,
	    .postmaster = c->postmaster,
	    .retry_min_ms = c->retry_min,
	    .retry_max_ms = c->retry_max,
	    .lifetime_ms = c->lifetime,
	    .delay_notice_ms = c->delay_notice,
	    .notices_per_hour = c->notices_per_hour,
	    .answers = c->answer_table,
	    .smarthost_name = c->smarthost_name,
	    .smarthost_ca = c->smarthost_ca,
	    .max_bytes = c->max_queue,
	    .keep_bytes = c->spool_reserve,
	    .max_held_per_account = c->max_held_per_account,
	    .connections = (int)c->relay_connections,
	    .timeout_ms = c->relay_timeout,
	    .start_relay = true,
	    .exe = "/proc/self/exe",
	};
}

void msa_config_auth(const struct msa_config *c, struct auth_config *out)
{
	*out = (struct auth_config){
	    .exe = "/proc/self/exe",
	    .hostname = c->hostname,
	    .realm = c->sasl_realm,
	    .mechs = c->mechs,
	    .user = c->common.user,
	    .keep_case = c->login_case == LOGIN_KEEP,
	    .backends = c->backends,
	    .n_backends = c->n_backends,
	};
}

void msa_config_tls(const struct msa_config *c, struct tls_tickets *tickets, struct tls_config *out)
{
	*out = (struct tls_config){
	    .exe = "/proc/self/exe",
	    .user = c->common.user,
	    .cert = c->tls_cert,
	    .key = c->tls_key,
	    .more = &c->tls_certs,
	    .policy = (enum tls_policy)c->tls_policy,
	    .client_ca = c->tls_client_ca,
	    .tickets = tickets,
	    .ticket_ms = c->tls_ticket_period,
	};
}
