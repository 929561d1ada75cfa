/*
 * template - see template.h. Pure.
 *
 * Trusted with: text. Diagnostics: none; a template that names a value nobody put is our bug. Known
 * gaps: none.
 */
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "kernel-rules/template.h"

void template_put(struct template_values *v, const char *name, const char *text)
{
	bug_on(v->n == sizeof v->list / sizeof *v->list || !text);
	v->list[v->n++] = (struct template_value){name, text};
}

static const char *lookup(const struct template_values *v, const char *name, size_t len)
{
	for (size_t i = v->n; i-- > 0;)
		if (strlen(v->list[i].name) == len && memcmp(v->list[i].name, name, len) == 0)
			return v->list[i].text;
	return NULL;
}

/* Steps over a ?NAME; false when the line is not to be there. */
static bool line_wanted(const char **line, const struct template_values *v)
{
	if (**line != '?')
		return true;
	size_t len = strcspn(++*line, "\t\n@");
	const char *text = lookup(v, *line, len);
	bug_on(!text);
	*line += len;
	return *text != '\0';
}

/* @NAME@ of a known name is replaced; any other @ (a set's) stays. */
static char *expand_line(char *out, const char *p, size_t len, const struct template_values *v)
{
	const char *end = p + len;
	while (p < end) {
		const char *at = memchr(p, '@', (size_t)(end - p));
		const char *close =
		    at && at + 1 < end ? memchr(at + 1, '@', (size_t)(end - at - 1)) : NULL;
		const char *text = close ? lookup(v, at + 1, (size_t)(close - at - 1)) : NULL;
		size_t plain = text ? (size_t)(at - p)
			       : at ? (size_t)(at - p) + 1
				    : (size_t)(end - p);
		out = talloc_strndup_append_buffer(out, p, plain);
		p += plain;
		if (text) {
			out = talloc_strdup_append_buffer(out, text);
			p = close + 1;
		}
		bug_on(!out);
	}
	return out;
}

/* A value that is whole lines stands alone at a line's start. */
static size_t line_length(const char *line)
{
	size_t len = strcspn(line, "\n");
	const char *close = *line == '@' ? strchr(line + 1, '@') : NULL;
	if (close && (size_t)(close - line) < len && close[1] != '\n')
		return (size_t)(close - line) + 1;
	return len + (line[len] == '\n');
}

char *template_expand(char *out, const char *template, const struct template_values *v)
{
	for (const char *line = template; *line;) {
		bool wanted = line_wanted(&line, v);
		size_t len = line_length(line);
		if (wanted)
			out = expand_line(out, line, len, v);
		line += len;
	}
	return out;
}
