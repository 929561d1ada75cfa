/*
 * ipc_frame - the six bytes before a payload, and socket addresses. For ipc.c and ipc_block.c.
 */
#ifndef LIB_IPC_FRAME_H
#define LIB_IPC_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define IPC_HEAD 6 /* u32 length of type and payload, u16 type */

void ipc_put_head(uint8_t head[static IPC_HEAD], uint16_t type, size_t len);
/* False when the length is forbidden. *len is the payload's. */
bool ipc_get_head(const uint8_t head[static IPC_HEAD], uint16_t *type, size_t *len);
/* False when path is empty or too long (errno is then ENAMETOOLONG). */
bool ipc_sockaddr(const char *path, struct sockaddr_un *sun);

#endif
