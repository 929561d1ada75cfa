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
/*
 * The address of the socket at path. A path that does not fit sun_path (107 bytes) is reached through its open folder,
 * /proc/self/fd/N/NAME: *folder is then that descriptor, to be closed after bind(2) or connect(2); else -1. False with errno.
 */
bool ipc_sockaddr(const char *path, struct sockaddr_un *sun, int *folder);
void ipc_folder_close(int folder); /* -1 is allowed; errno stays */

#endif
