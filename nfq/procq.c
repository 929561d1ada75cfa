/*
 * procq - see procq.h. A row: number, port, depth, copy mode, copy range, dropped, user dropped,
 * ...
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nfq/procq.h"

enum { NUMBER, PORT, DEPTH, MODE, RANGE, DROPPED, USER_DROPPED, COLUMNS };

static bool read_row(const char *line, unsigned long row[COLUMNS])
{
	for (int i = 0; i < COLUMNS; i++) {
		char *end;
		errno = 0;
		line += strspn(line, " ");
		if (*line < '0' || *line > '9')
			return false;
		row[i] = strtoul(line, &end, 10);
		if (errno != 0 || (*end != ' ' && *end != '\n' && *end != '\0'))
			return false;
		line = end;
	}
	return true;
}

bool procq_find(const char *text, unsigned number, struct procq *out)
{
	unsigned long row[COLUMNS];
	*out = (struct procq){0};
	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!read_row(line, row) || row[NUMBER] != number)
			continue;
		*out = (struct procq){row[PORT], row[DEPTH], row[DROPPED], row[USER_DROPPED]};
		return true;
	}
	return false;
}
