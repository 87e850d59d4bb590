/*
 * crc32c: the Castagnoli checksum (RFC 3720 B.4, polynomial 0x1EDC6F41 reflected), which the spool
 * keeps of each event. SQLite checks its own pages' structure, not their payload: of single
 * flipped bits it notices about one in three.
 */
#ifndef CRC32C_H
#define CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *p, size_t n); /* "123456789" gives 0xe3069283 */
/* That of more bytes behind those that have the checksum crc. */
uint32_t crc32c_on(uint32_t crc, const void *p, size_t n);

#endif
