/*
 * inside - what the files of the detector share. Private.
 */
#ifndef RATELIMIT_DETECTOR_INSIDE_H
#define RATELIMIT_DETECTOR_INSIDE_H

#include "ratelimit/detector/account.h"
#include "ratelimit/detector/crowd.h"
#include "ratelimit/detector/popular.h"
#include "ratelimit/detector/seen.h"

struct detector {
	struct detector_conf conf;
	struct detector_levels levels; /* in force now; percent is not used */
	double part[SIGNAL_COUNT];     /* in force now: of each signal's points and limit */
	uint64_t seed;
	int64_t now_ms, begin_ms; /* the latest and the first time seen; 0: none */
	struct accounts accounts;
	struct seen seen;	/* pairs of an account and what it has met */
	struct popular popular; /* networks and EHLO names by how many accounts use them */
	struct crowds texts, sources, lines;
};

/* The parts of a client's address, from itself to the widest net that may be one pool. */
enum { ADDR_SELF, ADDR_NEAR, ADDR_WIDE, ADDR_POOL, ADDR_PARTS };

#define NOVELTY_STRANGER .45 /* from here on the client is not taken for the owner's */
#define SYN_FEW		 10  /* refused connections a day that mean nothing */
#define NOVELTY_OWN	 .12 /* and up to here it is */
#define NOVELTY_NEW_LINE .3  /* up to here it may be the same program on another line */

/* A client as an account sees it. */
struct origin {
	double novelty;	  /* 0: the owner's, 1: nothing about it was ever met */
	const char *word; /* the reason, for people */
	uint64_t part[ADDR_PARTS];
	uint64_t wide_line;	   /* its /48 as a line; 0: IPv4 */
	uint64_t ehlo, ehlo_class; /* 0: not known */
	uint64_t tls;		   /* the same */
	bool tls_new, tls_usual;   /* not the account's, which has one; many accounts' */
	int met_days;		   /* since it was first met, when it is not the owner's */
	bool has_addr, line_syn;   /* refused port-25 connections of that address of late */
};

#define FACTS_KEYS 32

/* What one attempt is, before anything was raised. */
struct facts {
	const struct detector_attempt *a;
	struct account *acc;
	struct active *s;
	struct origin o;
	uint16_t day;
	uint32_t contacts, known;    /* of its recipients; the rest was first met today */
	double share;		     /* contacts / recipients */
	bool fresh, young, learning; /* fresh: its first message ever */
	struct client *client;	     /* NULL: the owner's */
	bool own_sender;	     /* the account used this sender before */
	uint64_t sender;	     /* its key; 0: none was told */
	uint64_t rcpt[FACTS_KEYS];   /* the keys of the first recipients */
};

uint64_t hash_text(uint64_t seed, const char *text); /* case does not matter */
uint64_t mix(uint64_t a, uint64_t b, uint64_t kind);

/* origin.c */
void origin_of(const struct detector *d, const struct account *acc, const struct addr *client,
	       const char *ehlo, bool young, uint16_t day, struct origin *o);
/* The key of a client's own address, as in origin_of(). */
/* A line in d->lines, and the one there that a client is in: the narrowest; NULL: none. */
uint64_t origin_line_key(const struct detector *d, const struct addr *client, unsigned plen);
struct crowd *origin_line(struct detector *d, const struct origin *o);
uint64_t origin_self(const struct detector *d, const struct addr *client);
/* Of its TLS; 0: not known. */
void origin_tls(const struct detector *d, const struct account *acc, uint64_t tls, uint16_t day,
		struct origin *o);
/* Refused port-25 connections of the line that this account answers for. */
uint32_t origin_syns(const struct detector *d, const struct origin *o, const struct crowd *line);
/* The client was used; trusted: it is the owner's from now on; friendly: mostly to friends, so that
 * it may become the owner's by and by. */
void origin_learn(struct detector *d, struct account *acc, const struct origin *o, bool trusted,
		  bool friendly, uint16_t day);

/* signals.c */
void signals_attempt(struct detector *d, struct facts *f);
void signal_raise(struct detector *d, struct active *s, enum detector_signal sig, double units,
		  uint32_t count);
/* What so many strangers' servers said of the account's last text. */
void signals_answered(struct detector *d, const struct active *s, uint32_t unknown, uint32_t spam,
		      uint32_t fine);
/* What is the same in the senders of one list: a key. */
uint64_t signal_sender(const struct detector *d, const char *from);
/* words.c */
void words(const struct detector *d, const struct active *s, struct detector_change *out);

#endif
