/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *err, int num, const char *step, const char *object_format, ...)
{
	if (!err)
		return num;
	memset(err, 0, sizeof(*err));
	err->num = num;
	snprintf(err->step, sizeof(err->step), "%s", step);
	va_list ap;
	va_start(ap, object_format);
	vsnprintf(err->object, sizeof(err->object), object_format, ap);
	va_end(ap);
	return num;
}

void err_within(struct err *err, const char *step)
{
	struct err inner = *err;

	if (streq(inner.step, step))
		return;
	err_set(err, inner.num, step, "%s%s%s", inner.step, inner.object[0] ? " " : "", inner.object);
}

const char *err_text(const struct err *err, char *buf, size_t size)
{
	snprintf(buf, size, "%s: %s%s%s", err->step, err->object, err->object[0] ? ": " : "", strerror(-err->num));
	return buf;
}
