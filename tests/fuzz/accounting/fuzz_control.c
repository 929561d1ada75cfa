/* Requests of the control socket: JSON, then the arguments against the list of every operation. */
#include <stdlib.h>
#include <string.h>

#include "accounting/ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_table(const struct op *ops, const json_t *args)
{
	char err[256];
	for (; ops->name; ops++) {
		if (!ops->args)
			continue;
		memset(err, 0, sizeof err);
		if (!op_check(ops->name, ops->args, args, err, sizeof err) && err[0] == '\0')
			abort(); /* a refusal without a word */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct op *const tables[] = {ops_door,	ops_who,    ops_policy,
						  ops_incident, ops_report, ops_remote};
	json_t *msg = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	const json_t *args = json_object_get(msg, "args");
	for (size_t i = 0; args && i < sizeof tables / sizeof tables[0]; i++)
		check_table(tables[i], args);
	json_decref(msg);
	return 0;
}
