/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/format.h"

#include <ctype.h>
#include <stdio.h>

#include "wire/def.h"

const char *format_bytes(char buf[FORMAT_SIZE], uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	/* 1023.95 would print as 1024.0 */
	for (; value >= 1023.95 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1024;
	bool whole = value >= 99.95 || (uint64_t)(value * 10 + 0.5) % 10 == 0;
	snprintf(buf, FORMAT_SIZE, "%.*f %s", whole ? 0 : 1, value, units[unit]);
	return buf;
}

const char *format_seconds(char buf[FORMAT_SIZE], int64_t seconds)
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
	size_t i = 0;

	if (seconds < 0)
		seconds = 0;
	while (i + 1 < ARRAY_SIZE(units) && seconds < units[i].seconds)
		i++;
	int64_t first = seconds / units[i].seconds, rest = seconds % units[i].seconds;
	int64_t second = i + 1 < ARRAY_SIZE(units) ? rest / units[i + 1].seconds : 0;
	if (second)
		snprintf(buf, FORMAT_SIZE, "%lld %s %lld %s", (long long)first, units[i].name, (long long)second,
			units[i + 1].name);
	else
		snprintf(buf, FORMAT_SIZE, "%lld %s", (long long)first, units[i].name);
	return buf;
}

int64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *format_ms(char buf[FORMAT_SIZE], double ms)
{
	if (ms < 9.995)
		snprintf(buf, FORMAT_SIZE, "%.2f ms", ms);
	else if (ms < 999.95)
		snprintf(buf, FORMAT_SIZE, "%.1f ms", ms);
	else
		snprintf(buf, FORMAT_SIZE, "%.2f s", ms / 1000);
	return buf;
}

const char *format_time(char buf[FORMAT_SIZE], const struct timespec *at)
{
	struct tm tm;

	gmtime_r(&at->tv_sec, &tm);
	size_t n = strftime(buf, FORMAT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, FORMAT_SIZE - n, ".%03ldZ", at->tv_nsec / 1000000);
	return buf;
}

int parse_time(const char *text, struct timespec *ret)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	long ns = 0;

	if (rest && *rest == '.') {
		long unit = 100000000;
		for (rest++; isdigit((unsigned char)*rest); rest++, unit /= 10)
			ns += (*rest - '0') * unit;
	}
	if (!rest || !streq(rest, "Z"))
		return -EINVAL;
	*ret = (struct timespec){ .tv_sec = timegm(&tm), .tv_nsec = ns };
	return 0;
}

/* The digits at *TEXT, which is moved behind them. */
static int parse_digits(const char **text, uint64_t *ret)
{
	uint64_t value = 0;
	const char *at = *text;

	if (!isdigit((unsigned char)*at))
		return -EINVAL;
	for (; isdigit((unsigned char)*at); at++)
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return -ERANGE;
	*text = at;
	*ret = value;
	return 0;
}

/* Digits and at most one of the letters UNITS, each worth its entry in FACTORS. No more than INT64_MAX: JSON's limit. */
static int parse_scaled(const char *text, const char *units, const uint64_t *factors, uint64_t *ret)
{
	uint64_t value;
	int r = parse_digits(&text, &value);
	const char *unit = *text ? strchr(units, *text) : NULL;

	if (r < 0)
		return r;
	if (*text && (!unit || text[1]))
		return -EINVAL;
	if (unit && __builtin_mul_overflow(value, factors[unit - units], &value))
		return -ERANGE;
	if (value > INT64_MAX)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_count(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t value;
	int r = parse_scaled(text, "", NULL, &value);

	if (r < 0)
		return r;
	if (value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_seconds(const char *text, uint64_t *ret)
{
	static const uint64_t factors[] = { 1, 60, 3600, 86400 };

	return parse_scaled(text, "smhd", factors, ret);
}

json_t *parse_decimal(const char *text)
{
	uint64_t whole, fraction;
	const char *rest = text;
	double scale = 1;

	/* strtod() would take hexadecimal, "inf" and the locale's comma as well. */
	if (parse_digits(&rest, &whole) < 0 || *rest++ != '.')
		return NULL;
	const char *digits = rest;
	if (parse_digits(&rest, &fraction) < 0 || *rest)
		return NULL;
	while (digits < rest--)
		scale *= 10;
	return json_real((double)whole + (double)fraction / scale);
}

json_t *parse_limit(const char *text)
{
	static const uint64_t factors[] = { UINT64_C(1) << 10, UINT64_C(1) << 20, UINT64_C(1) << 30,
		UINT64_C(1) << 40 };
	uint64_t value;

	if (parse_scaled(text, "KMGT", factors, &value) == 0)
		return json_integer((json_int_t)value);
	return parse_decimal(text);
}
