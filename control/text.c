/* SPDX-License-Identifier: Apache-2.0 */
#include "control/text.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <time.h>

#include "wire/loop.h"

json_t *json_time(uint64_t realtime_ns)
{
	if (realtime_ns == NEVER)
		return json_null();
	time_t seconds = (time_t)(realtime_ns / NS_PER_SEC);
	struct tm tm;
	char day[32], text[48];
	gmtime_r(&seconds, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03uZ", day, (unsigned)(realtime_ns % NS_PER_SEC / NS_PER_MS));
	return json_string(text);
}

json_t *json_errno(int err_no)
{
	int positive = err_no < 0 ? -err_no : err_no;
	const char *name = strerrorname_np(positive);

	return name ? json_string(name) : json_sprintf("%d", positive);
}

void sha256(const void *bytes, size_t n, uint8_t ret[static SHA256_SIZE])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, n, bytes);
	sha256_digest(&ctx, SHA256_SIZE, ret);
}

void owner_hash(const char *owner, char ret[static OWNER_HASH_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t digest[SHA256_SIZE];

	sha256(owner, strlen(owner), digest);
	for (size_t i = 0; i < OWNER_HASH_SIZE - 1; i++)
		ret[i] = hex[i % 2 == 0 ? digest[i / 2] >> 4 : digest[i / 2] & 15];
	ret[OWNER_HASH_SIZE - 1] = '\0';
}

/* The length of the sequence at BYTES by table 3-7 of the Unicode standard; 0 when it is none. */
static size_t utf8_sequence(const uint8_t *bytes, size_t n)
{
	uint8_t first = bytes[0], low = 0x80, high = 0xbf;
	size_t length;

	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		length = 2;
	else if (first >= 0xe0 && first <= 0xef)
		length = 3;
	else if (first >= 0xf0 && first <= 0xf4)
		length = 4;
	else
		return 0;
	/* Overlong forms, surrogates and what is past U+10FFFF show in the second byte. */
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (n < length || bytes[1] < low || bytes[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (bytes[i] < 0x80 || bytes[i] > 0xbf)
			return 0;
	return length;
}

size_t utf8_scrub(const uint8_t *bytes, size_t n, char *out)
{
	char *to = out;

	for (size_t i = 0; i < n;) {
		size_t length = utf8_sequence(bytes + i, n - i);
		if (length == 0) {
			memcpy(to, "\xef\xbf\xbd", 3);
			to += 3;
			i++;
		} else {
			memcpy(to, bytes + i, length);
			to += length;
			i += length;
		}
	}
	*to = '\0';
	return (size_t)(to - out);
}

size_t json_text_cost(const uint8_t *bytes, size_t n)
{
	size_t cost = 0;

	for (size_t i = 0; i < n;) {
		size_t length = utf8_sequence(bytes + i, n - i);
		if (length == 0)
			cost += 3; /* U+FFFD */
		else if (length > 1)
			cost += length;
		else if (bytes[i] == '"' || bytes[i] == '\\' || bytes[i] == '\n' || bytes[i] == '\t' ||
			 bytes[i] == '\r')
			cost += 2;
		else
			cost += bytes[i] < 0x20 ? 6 : 1;
		i += length ? length : 1;
	}
	return cost;
}
