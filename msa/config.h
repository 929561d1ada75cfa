/*
 * config - the section `msa` of the configuration file: one table for the front and the queue.
 */
#ifndef MSA_CONFIG_H
#define MSA_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/addr.h"
#include "lib/conf.h"
#include "lib/login.h"
#include "msa/auth/auth.h"
#include "msa/auth/guard.h"
#include "msa/mail/dkim.h"
#include "msa/queue/queue.h"
#include "msa/route/route.h"
#include "msa/smtp/session.h"
#include "msa/tls.h"

/* A listener with mechanisms of its own. */
struct msa_listener {
	const char *address; /* as in listen_submission(s) */
	const char **mechs;
	size_t n_mechs;
};

/* What is different for the accounts of some domains; configured as `realm NAME {}`. */
struct msa_realm {
	char *name;
	struct conf_list domains;
	struct conf_list auth_mechanisms; /* none: whatever the listener offers */
	struct conf_list listeners;	  /* none: any */
	/* A back end of its own, when one of these is not "". */
	char *sasldb, *sasl_conf_path;
	int64_t auth_workers;
};


struct msa_config {
	struct conf_common common;
	char *hostname;
	struct conf_list listen_submission, listen_submissions, proxy_from;
	char *tls_cert, *tls_key, *tls_client_ca;
	struct conf_list tls_certs;
	int tls_policy;
	int64_t tls_ticket_period;
	char *metrics;

	struct conf_list auth_mechanisms, auth_mechanisms_of;
	int64_t auth_free_failures, auth_max_wait, auth_spray, auth_spray_wide;
	int64_t auth_workers;
	int login_case;
	char *sasl_realm, *sasldb, *sasl_conf_path;
	struct conf_list sasl_realm_of;

	int mail_from, from_header, sender, limiter_down;
	char *identities;
	bool hide_client, auth_results;
	bool batv;
	char *batv_keys;
	struct conf_list bounce_listen;
	int bounce_check;
	struct conf_list bounce_strict;
	char *trace_key, *cfbl_address;
	char *dkim;

	int64_t max_message, max_recipients, max_hops;
	int64_t max_sessions, max_sessions_per_client, max_in_flight;
	int64_t max_commands, max_errors, max_auth_failures;
	int64_t max_idle_commands, free_errors, error_delay, greet_delay, min_rate, min_rate_after;
	int body_8bit, header_8bit;
	struct conf_list max_message_of;
	struct smtp_size *sizes;
	int64_t login_timeout, idle_timeout, session_timeout, stop_timeout, limiter_deadline;
	int64_t handover_timeout;

	char *smarthost, *postmaster;
	int64_t retry_min, retry_max, lifetime, max_queue, spool_reserve, max_held_per_account;
	int64_t relay_connections, relay_timeout, delay_notice, notices_per_hour;
	char *answers;
	char *smarthost_name, *smarthost_ca;
	struct conf_items routes; /* of struct route */
	struct conf_items realms; /* of struct msa_realm */
	char *help_url;
	bool tell_held;
	char *transport_map, *fallback_route, *suspect_route;
	int64_t fallback_after;
	int relay_tls;
	bool mta_sts, tlsrpt;
	char *dns_server, *dns_trust_anchor, *relay_ca;
	struct conf_list relay_source, own_names;
	int64_t destination_connections, destination_rate, connection_messages;
	int64_t pause_min, pause_max;

	/* Made from the above. */
	struct route default_route;
	struct route_table *route_table;
	struct answer_table *answer_table; /* or NULL */
	char *self;			   /* own_names, blank-separated */
	char *mechs;		 /* what Cyrus SASL is to have: blank-separated, without -PLUS */
	struct msa_listener *of; /* as auth_mechanisms_of */
	struct auth_backend *backends; /* msa's own, then those of realms */
	size_t n_backends;
	struct prefix *proxies; /* as proxy_from */
	struct guard_config guard;
	struct smtp_policy policy;
	struct dkim_table *dkim_table; /* or NULL */
	const char *cfbl_domain;       /* of cfbl_address; "" */
};

/*
 * Load and check; what is left empty is filled in (hostname, realm, postmaster, batv_keys). A new
 * struct under ctx, NULL with *err (talloc'd under ctx), one line that says what to change.
 */
struct msa_config *msa_config_load(void *ctx, const char *file, char **err);
/* False when fresh differs from old in a key that needs a restart: *err names it. */
bool msa_config_may_reload(void *ctx, const struct msa_config *old, const struct msa_config *fresh,
			   char **err);
/* A part of msa_config_load(): route_table from what c holds. */
bool msa_config_routes(void *ctx, struct msa_config *c, char **err);
/* Another one: mechanisms and realms, checked; mechs, of and backends are made. */
bool msa_config_login(void *ctx, struct msa_config *c, char **err);
/* False when the back ends of realms differ, which workers that run do not learn: *err says so. */
bool msa_config_same_backends(void *ctx, const struct msa_config *old,
			      const struct msa_config *fresh, char **err);
/* May this account, which has shown who it is by mech, log in at this listener? */
bool msa_config_may_login(const struct msa_config *c, const char *account, const char *mech,
			  const char *listener);
/* The domain that completes a bare name at this listener. */
const char *msa_config_realm_of(const struct msa_config *c, const char *listener);
/* Views into c, for those who copy. */
void msa_config_queue(const struct msa_config *c, struct queue_config *out);
void msa_config_auth(const struct msa_config *c, struct auth_config *out);
/* NULL: the listener has those of the policy. */
const struct msa_listener *msa_config_listener(const struct msa_config *c, const char *address);
void msa_config_tls(const struct msa_config *c, struct tls_tickets *tickets,
		    struct tls_config *out);

/* The table, for the test of the manual page and the sample. */
extern const struct conf_key msa_keys[];
extern const size_t msa_n_keys;

#endif
