/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, durations, sizes and times in words; words back into numbers. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { FORMAT_SIZE = 64 }; /* holds whatever a function here writes */

/* "812 B", "1.5 MiB", "64 MiB". Returns BUF, as do the others. */
const char *format_bytes(char buf[FORMAT_SIZE], uint64_t bytes);

/* "4 s", "12 min", "3 h 20 min", "5 d 2 h": the two largest units. */
const char *format_seconds(char buf[FORMAT_SIZE], int64_t seconds);

/* "0.35 ms", "12.4 ms", "1.80 s". */
const char *format_ms(char buf[FORMAT_SIZE], double ms);

/* Time in UTC as RFC 3339 with milliseconds; and back, 0 or -EINVAL. */
const char *format_time(char buf[FORMAT_SIZE], const struct timespec *at);
int parse_time(const char *text, struct timespec *ret);

/* An integer from 0 to MAX, digits only. 0, -EINVAL or -ERANGE. */
int parse_count(const char *text, uint64_t max, uint64_t *ret);

/* Seconds: "90", "90s", "30m", "12h", "7d". 0, -EINVAL or -ERANGE. */
int parse_seconds(const char *text, uint64_t *ret);

/* DIGITS.DIGITS as a JSON real, or NULL. The caller's. */
json_t *parse_decimal(const char *text);

/* A limit: an integer, one with K, M, G or T for powers of 1024, or a decimal fraction. NULL: no number. The caller's. */
json_t *parse_limit(const char *text);

/* Milliseconds on CLOCK_MONOTONIC. */
int64_t monotonic_ms(void);
