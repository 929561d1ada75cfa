/*
 * reply - what a remote server's answer says about the mail: RFC 5321 reply codes, RFC 3463
 * enhanced codes, and, where those are silent, words.
 */
#ifndef RATELIMIT_DETECTOR_REPLY_H
#define RATELIMIT_DETECTOR_REPLY_H

enum reply_kind {
	REPLY_NONE,    /* nothing was said */
	REPLY_OK,      /* taken */
	REPLY_UNKNOWN, /* there is no such recipient */
	REPLY_SPAM,    /* it, or its sender, is called spam */
	REPLY_OTHER,   /* full, busy, greylisted: says nothing about the sender */
};

/* text: a whole reply, "550 5.1.1 ...". NULL is REPLY_NONE. */
enum reply_kind reply_kind(const char *text);
/* code: "5.1.1" alone. */
enum reply_kind reply_kind_of_code(const char *code);

#endif
