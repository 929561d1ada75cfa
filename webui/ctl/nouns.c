/*
 * nouns - the list of everything sekishoctl can be told, in the order of its help.
 *
 * Trusted with: nothing. Diagnostics: none. A new noun is one row here and one file with its verbs.
 */
#include "webui/ctl/nouns.h"

const struct cli_noun *const cli_nouns[] = {
    &noun_status, &noun_top,	  &noun_watch,	    &noun_explain, &noun_who,
    &noun_exempt, &noun_lease,	  &noun_subscriber, &noun_account, &noun_incident, &noun_alert,
    &noun_limit,  &noun_queue,	  &noun_message, &noun_batv,	    &noun_dkim,	   &noun_report,
    &noun_tlsrpt,
    &noun_audit,  &noun_operator, &noun_replay,	    &noun_check,	    &noun_init,
};
const size_t cli_n_nouns = sizeof(cli_nouns) / sizeof(cli_nouns[0]);
