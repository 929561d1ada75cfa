/*
 * template - text with values put in. Pure.
 *
 * In a template @NAME@ stands for a value, and a line that begins with ?NAME is there only if that
 * value is not empty. Any other @ stays.
 */
#ifndef KERNEL_RULES_TEMPLATE_H
#define KERNEL_RULES_TEMPLATE_H

#include <stddef.h>

struct template_value {
	const char *name;
	const char *text;
};

/* A name put later hides the same one put before; who sets n back takes the later ones out. Names
 * and texts are the caller's. */
struct template_values {
	struct template_value list[80];
	size_t n;
};

void template_put(struct template_values *v, const char *name, const char *text);
/* Appends to out (talloc'd), which may move. */
char *template_expand(char *out, const char *template, const struct template_values *v);

#endif
