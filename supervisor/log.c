/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include "supervisor/supervisor.h"

void log_line(int priority, const char *format, ...)
{
	/* The journal takes the priority from a prefix, a person does not want to see it. */
	bool journal = getenv("JOURNAL_STREAM") != NULL;
	char line[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (journal)
		fprintf(stderr, "<%d>%s\n", priority, line);
	else
		fprintf(stderr, "carreld: %s%s\n", priority <= LOG_ERR ? "error: " : "", line);
}

void log_err(int priority, const char *session, const struct err *err)
{
	char text[256];

	log_line(priority, "session %s: %s", session, err_text(err, text, sizeof(text)));
}
