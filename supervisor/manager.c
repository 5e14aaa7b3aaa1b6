/* SPDX-License-Identifier: Apache-2.0 */
/* What the service manager is told: that the supervisor is ready, that it is alive, and how many sessions there are. */
#include <stdio.h>

#include "supervisor/supervisor.h"

#define PERIOD_NS NS_PER_SEC /* how old the status may be */

static void tell_status(struct supervisor *super)
{
	char text[64];

	if (super->told_sessions == super->n_sessions)
		return;
	super->told_sessions = super->n_sessions;
	snprintf(text, sizeof(text), "STATUS=%zu session%s", super->n_sessions, super->n_sessions == 1 ? "" : "s");
	service_tell(&super->service, text);
}

/* Runs in the loop, so that a supervisor whose loop hangs misses it. */
static void on_time(struct loop_timer *timer)
{
	struct supervisor *super = container_of(timer, struct supervisor, service_timer);
	const uint64_t watchdog_ns = super->service.watchdog_ns;

	service_tell(&super->service, "WATCHDOG=1");
	tell_status(super);
	loop_arm(&super->loop, timer,
		boottime_ns() + (watchdog_ns > 0 && watchdog_ns < PERIOD_NS ? watchdog_ns : PERIOD_NS));
}

void manager_ready(struct supervisor *super)
{
	service_tell(&super->service, "READY=1");
	super->told_sessions = SIZE_MAX;
	super->service_timer.fn = on_time;
	if (super->service.notify_fd >= 0)
		on_time(&super->service_timer);
}
