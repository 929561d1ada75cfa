/*
 * ruleset_text - the templates (template.h) that ruleset.c renders, once for each family.
 */
#ifndef KERNEL_RULES_RULESET_TEXT_H
#define KERNEL_RULES_RULESET_TEXT_H

/* The comment on top. */
extern const char text_head[];
/* The table of a family with its counters, sets and base chains, without rules. */
extern const char text_sets[];
/* Of each prefix length that has sets of its own. */
extern const char text_level_sets[];
/* The rules; the pieces below are values in it. */
extern const char text_chains[];
extern const char text_ask[];
extern const char text_not_exempt[];
extern const char text_passed[];
/* One class, for exemptions of one prefix length; and the meters of a class. */
extern const char text_class_chain[];
extern const char text_class_sets[];
/* Pools with notice. */
extern const char text_notice_rules[];

#endif
