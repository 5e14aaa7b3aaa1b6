/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/tar_format.h"

int tar_parse_field(const char *field, size_t size, int64_t *ret)
{
	const uint8_t *bytes = (const uint8_t *)field;
	uint64_t value = 0;
	size_t i = 0;

	if (bytes[0] == 0x80 || bytes[0] == 0xff) {
		const uint8_t sign = bytes[0] == 0xff ? 0xff : 0;
		for (i = 1; i < size; i++) {
			if (size - i > sizeof(value) && bytes[i] != sign)
				return -EBADMSG;
			value = value << 8 | bytes[i];
		}
		if (size <= sizeof(value) && sign)
			value |= UINT64_MAX << (8 * (size - 1));
		if ((sign != 0) != (value > INT64_MAX))
			return -EBADMSG;
		*ret = (int64_t)value;
		return 0;
	}
	while (i < size && field[i] == ' ')
		i++;
	for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
		value = value << 3 | (uint64_t)(field[i] - '0'); /* at most 12 digits */
	if (i < size && field[i] != ' ' && field[i] != '\0')
		return -EBADMSG;
	*ret = (int64_t)value;
	return 0;
}

int tar_parse_decimal(const char *text, size_t n, uint64_t *ret)
{
	uint64_t value = 0;

	if (n == 0 || n > 19)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EBADMSG;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	if (value > INT64_MAX)
		return -EBADMSG;
	*ret = value;
	return 0;
}

int tar_parse_time(const char *text, size_t n, int64_t *ret, uint32_t *ret_ns)
{
	bool negative = n > 0 && text[0] == '-';
	const char *digits = text + negative, *dot = memchr(text, '.', n);
	size_t whole = (size_t)((dot ? dot : text + n) - digits);
	uint32_t ns = 0, unit = 100000000;
	uint64_t seconds;

	if (tar_parse_decimal(digits, whole, &seconds) < 0)
		return -EBADMSG;
	for (const char *p = dot ? dot + 1 : text + n; p < text + n; p++, unit /= 10) {
		if (*p < '0' || *p > '9')
			return -EBADMSG;
		ns += (uint32_t)(*p - '0') * unit;
	}
	if (negative && ns > 0) {
		seconds++;
		ns = 1000000000 - ns;
	}
	*ret = negative ? -(int64_t)seconds : (int64_t)seconds;
	*ret_ns = ns;
	return 0;
}
