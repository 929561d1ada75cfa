/*
 * via - a relay_outcome's via taken apart: "mx1.example.net[192.0.2.1]:25 TLSv1.3 CIPHER dane".
 * Pure.
 */
#ifndef MSA_RELAY_VIA_H
#define MSA_RELAY_VIA_H

struct via {
	char server[321]; /* "mx1.example.net[192.0.2.1]:25"; "" not known */
	char mta[321];	  /* "mx1.example.net", or "[192.0.2.1]" */
	char tls[16];	  /* "TLSv1.3"; "" clear text, or not known */
	char cipher[64];
	char proof[16]; /* "dane"; "" as tls */
};

/* What does not fit, or is missing, is "". */
void via_parse(const char *text, struct via *out);

#endif
