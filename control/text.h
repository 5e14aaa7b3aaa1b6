/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How times, digests and hostile bytes are written for clients.
 */
#pragma once

#include <jansson.h>

#include "wire/def.h"

/* A time or duration that is not there: null in JSON, NULL in the registry. */
#define NEVER UINT64_MAX

/* RFC 3339, UTC, milliseconds, of CLOCK_REALTIME nanoseconds; null for NEVER. A new reference. */
json_t *json_time(uint64_t realtime_ns);

/* "ENOENT" for 2 or -2; the number as text for one without a name. A new reference. */
json_t *json_errno(int err_no);

enum { SHA256_SIZE = 32, OWNER_HASH_SIZE = 17 };

void sha256(const void *bytes, size_t n, uint8_t ret[static SHA256_SIZE]);

/* The first 16 hexadecimal digits of the SHA-256 of OWNER. */
void owner_hash(const char *owner, char ret[static OWNER_HASH_SIZE]);

/*
 * Copies N bytes to OUT (of 3 * N + 1 bytes) as valid UTF-8: each byte that is part of no valid sequence becomes
 * U+FFFD. Returns the length; OUT is terminated, but may hold NULs of the input.
 */
size_t utf8_scrub(const uint8_t *bytes, size_t n, char *out);

/* What N bytes take as text in JSON once they are scrubbed, at most: quotes are not counted. */
size_t json_text_cost(const uint8_t *bytes, size_t n);
