/*
 * uuid: ids of events, in order of time.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdint.h>

/* A new UUIDv7 (RFC 9562 5.7) as text, 36 characters and a NUL. Ids made by one process are in
   order: the 12 bits after the milliseconds count the ids of a millisecond, and the time never goes
   back. */
#define UUID_SIZE 37
void uuid_v7(char out[UUID_SIZE]);

/* A UUIDv8 (RFC 9562 5.8): milliseconds as in v7, so that the two kinds sort together, and then 74
   bits of digest. For derived ids: the same arguments give the same UUID. */
void uuid_v8(char out[UUID_SIZE], int64_t ms, const unsigned char digest[10]);

#endif
