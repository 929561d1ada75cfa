/*
 * radius_recent - the RADIUS packets of the last half minute, to know one that is sent again. Fixed
 * memory: of two that fall on one place the later is remembered.
 */
#ifndef ACCOUNTING_RADIUS_RECENT_H
#define ACCOUNTING_RADIUS_RECENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct radius_recent;

struct radius_recent *radius_recent_new(void);
void radius_recent_free(struct radius_recent *m);

/*
 * True when that packet, known by its header, came from there before, unchanged; *answered says
 * whether it was answered. Else it is remembered. from is zero beyond its own length.
 */
bool radius_recent(struct radius_recent *m, const struct sockaddr_storage *from,
		   const uint8_t header[static 20], int64_t now_ms, bool *answered);
/* What became of it; now_ms is when it came. One that is not remembered any more is no error. */
void radius_recent_answered(struct radius_recent *m, const struct sockaddr_storage *from,
			    const uint8_t header[static 20], int64_t now_ms);
void radius_recent_forget(struct radius_recent *m, const struct sockaddr_storage *from,
			  const uint8_t header[static 20], int64_t now_ms);

#endif
