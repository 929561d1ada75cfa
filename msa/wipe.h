/*
 * wipe - buffers that passwords pass through are cleared when they are freed.
 */
#ifndef MSA_WIPE_H
#define MSA_WIPE_H

/* Make libevent clear every buffer it frees or moves; before any other use of libevent. */
void wipe_buffers(void);

#endif
