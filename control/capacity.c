/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.capacity: what more this host takes, for a scheduler that has several. Sessions are admitted by number alone,
 * because limits are ceilings and not what is used; whoever wants no more promised than there is finds that here, too.
 */
#include <stdio.h>

#include "control/json.h"
#include "control/lifecycle.h"

/* What live sessions may come to use. */
struct promised {
	uint64_t memory_bytes;
	double cpus;
};

static const json_t *limit_value(const struct session *session, enum limit limit)
{
	return json_object_get(json_object_get(session->record.limits, limit_table[limit].name), "value");
}

static struct promised sum_promises(const struct lifecycle *lifecycle)
{
	struct promised promised = { 0 };

	for (const struct list *l = lifecycle->all.next; l != &lifecycle->all; l = l->next) {
		const struct session *session = container_of(l, struct session, of_all);
		if (!session_is_live(session))
			continue;
		promised.memory_bytes += (uint64_t)json_integer_value(limit_value(session, LIMIT_MEMORY));
		promised.cpus += json_number_value(limit_value(session, LIMIT_CPUS));
	}
	return promised;
}

/* A line "NAME:   N kB" of /proc/meminfo in bytes; 0 when it is not there. */
static uint64_t meminfo(const char *text, const char *name)
{
	const char *line = strstr(text, name);
	unsigned long long kilobytes = 0;

	if (!line || sscanf(line + strlen(name), ": %llu", &kilobytes) != 1)
		return 0;
	return kilobytes * 1024;
}

/* How often ONE goes into what LEFT of ALL has not been promised. */
static json_int_t times(double all, double promised, double one)
{
	return one > 0 && all > promised ? (json_int_t)((all - promised) / one) : 0;
}

static json_t *template_capacity(const struct lifecycle *lifecycle, const struct template *template, uint64_t total,
	const struct promised *promised)
{
	const struct index_node *node = index_find(&lifecycle->templates, template->name);
	size_t live = node ? container_of(node, struct account, node)->n_live : 0;
	size_t max = lifecycle_config(lifecycle)->max_sessions, all = lifecycle_n_live(lifecycle);
	size_t more = max > all ? max - all : 0;
	double memory = (double)template->limits.value[LIMIT_MEMORY];
	double cpus = (double)template->limits.value[LIMIT_CPUS] / 1000;

	if (template->max_sessions > 0 && template->max_sessions < live + more)
		more = template->max_sessions > live ? template->max_sessions - live : 0;
	if (lifecycle->admission.draining)
		more = 0;
	json_t *object = json_object();
	json_put(&object, "name", json_string(template->name));
	json_put(&object, "live", json_integer((json_int_t)live));
	json_put(&object, "max", json_integer((json_int_t)(template->max_sessions ? template->max_sessions : max)));
	json_put(&object, "more", json_integer((json_int_t)more));
	json_put(&object, "more_within_memory",
		json_integer(times((double)total, (double)promised->memory_bytes, memory)));
	json_put(&object, "more_within_cpus",
		json_integer(times((double)lifecycle->control->n_cpus, promised->cpus, cpus)));
	return object;
}

void method_system_capacity(struct call *call)
{
	const struct control *control = call_control(call);
	const struct lifecycle *lifecycle = control->lifecycle;
	const struct config *config = &control->config;
	const struct promised promised = sum_promises(lifecycle);
	size_t live = lifecycle_n_live(lifecycle);
	char text[4096] = "";

	ssize_t n = RETRY_EINTR(pread(control->meminfo_fd, text, sizeof(text) - 1, 0));
	text[n > 0 ? n : 0] = '\0';
	uint64_t total = meminfo(text, "MemTotal");
	json_t *templates = json_array();
	for (size_t i = 0; i < config->n_templates; i++)
		json_append(&templates, template_capacity(lifecycle, &config->templates[i], total, &promised));
	call_reply(call, json_pack("{s:b, s:{s:I, s:I, s:I, s:I, s:I}, s:{s:I, s:I, s:I}, s:{s:I, s:f}, s:o}",
				 "draining", lifecycle->admission.draining, "sessions", "max",
				 (json_int_t)config->max_sessions, "live", (json_int_t)live, "free",
				 (json_int_t)(config->max_sessions > live ? config->max_sessions - live : 0),
				 "queued", (json_int_t)lifecycle->admission.n_queued, "max_queued",
				 (json_int_t)config->max_queued_creations, "memory", "total_bytes", (json_int_t)total,
				 "available_bytes", (json_int_t)meminfo(text, "MemAvailable"), "promised_bytes",
				 (json_int_t)promised.memory_bytes, "cpus", "online", (json_int_t)control->n_cpus,
				 "promised", promised.cpus, "templates", templates));
}
