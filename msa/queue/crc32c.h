/*
 * crc32c - CRC-32C (RFC 3720 B.4): by the processor's own instruction where it has it, by tables
 * elsewhere. Pure.
 */
#ifndef MSA_QUEUE_CRC32C_H
#define MSA_QUEUE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of n octets; crc is 0, or what the octets before these gave. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* The same without the processor's help; for tests. */
uint32_t crc32c_plain(uint32_t crc, const void *p, size_t n);

#endif
