/*
 * route_int - the table of routes as its files share it; nobody outside msa/route/ includes it.
 */
#ifndef MSA_ROUTE_ROUTE_INT_H
#define MSA_ROUTE_ROUTE_INT_H

#include "msa/route/route.h"

struct map_entry {
	char *key, *line; /* the line as it was written, for the wire */
	enum route_act act;
	const struct route *route;
	const char *domain; /* of "mx:DOMAIN"; NULL: the recipient's */
	struct route_host *host;
	const char *status, *text;
	struct map_entry *hash_next;
};

struct route_table {
	struct route *routes; /* [0] is the default route */
	size_t n;
	const struct route *fallback, *suspect;
	uint32_t fallback_after;
	struct map_entry **hash;
	size_t hash_cap;	    /* a power of two */
	struct map_entry **entries; /* in the order of the file */
	size_t n_entries, entries_cap;
};

/* "[PREFERENCE ]HOST[:PORT]", "[PREFERENCE ]mx:DOMAIN". Strings are talloc'd under owner. False:
 * *err is static text. */
bool route_parse_host(void *owner, const char *text, size_t len, uint16_t port,
		      struct route_host *out, const char **err);
const struct map_entry *route_map_find(const struct route_table *t, const char *key, size_t len);

#endif
