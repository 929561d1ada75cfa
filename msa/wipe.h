/*
 * wipe - buffers that passwords pass through are cleared when they are freed.
 */
#ifndef MSA_WIPE_H
#define MSA_WIPE_H

/* Make libevent clear every buffer it frees or moves; before any other use of libevent. */
void wipe_buffers(void);
/* Messages come and go by the hundred a second: what malloc gave back to the system after each one
 * would be faulted in again for the next, page by page. So it keeps some of what is free. */
void wipe_keep_memory(void);

#endif
