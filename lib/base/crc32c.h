/*
 * crc32c: the Castagnoli checksum (RFC 3720 B.4, polynomial 0x1EDC6F41 reflected), which the spool
 * keeps for each event. SQLite checks the structure of its pages, not their payload: it notices
 * about one in three single-bit errors.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/buf.h"

uint32_t crc32c(const void *p, size_t n); /* "123456789" gives 0xe3069283 */
/* The checksum of n pieces, one after the other. */
uint32_t crc32c_of(const struct str *piece, size_t n);

#endif
