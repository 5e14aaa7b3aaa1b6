/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include "supervisor/supervisor.h"

/* To the journal with its fields, or to whoever looks on; what the journal does not take is not lost. */
static void say(int priority, const struct service_fields *fields, const char *line)
{
	_close_ int journal = service_journal();

	if (!service_log(journal, priority, fields, line))
		fprintf(stderr, "carreld: %s%s\n", priority <= LOG_ERR ? "error: " : "", line);
}

void log_line(int priority, const char *format, ...)
{
	const struct service_fields none = { NULL };
	char line[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	say(priority, &none, line);
}

void log_err(int priority, const char *session, const struct err *err)
{
	const struct service_fields fields = { .session = session, .step = err->step };
	char line[512], text[256];

	snprintf(line, sizeof(line), "session %s: %s", session, err_text(err, text, sizeof(text)));
	say(priority, &fields, line);
}
