/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "cli/format.h"
#include "cli/image.h"

/* On a terminal the phase is shown while it runs; elsewhere each is one whole line when it is over. */
void progress_end(struct progress *progress)
{
	if (!*progress->phase)
		return;
	double seconds = (double)(monotonic_ms() - progress->phase_started_ms) / 1000;
	fprintf(progress->out, "%s  %-52s %6.1f s\n", progress->term->tty ? "\r" : "", progress->phase, seconds);
	progress->phase[0] = '\0';
}

void progress_phase(struct progress *progress, const char *format, ...)
{
	char phase[sizeof(progress->phase)];
	va_list args;

	va_start(args, format);
	vsnprintf(phase, sizeof(phase), format, args);
	va_end(args);
	progress_end(progress);
	memcpy(progress->phase, phase, sizeof(phase));
	progress->phase_started_ms = monotonic_ms();
	if (progress->term->tty) {
		fprintf(progress->out, "  %s ...", phase);
		fflush(progress->out);
	}
}
