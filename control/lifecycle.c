/* SPDX-License-Identifier: Apache-2.0 */
#include "control/lifecycle.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

#include "control/json.h"

#define CHECKPOINT_NS (5 * NS_PER_SEC) /* after the first write: what a loss of power can take */
#define WRITE_AGAIN_NS NS_PER_SEC /* after a write that failed */

static void say(const char *format, ...) _printf_(1, 2);

static void say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("carrel-control: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
}

/* ---- writing ---- */

void lifecycle_flush_soon(struct lifecycle *lifecycle)
{
	if (!lifecycle->flush.place)
		loop_arm(lifecycle_loop(lifecycle), &lifecycle->flush, 0);
}

static int write_changes(struct lifecycle *lifecycle)
{
	struct registry *registry = lifecycle->registry;
	int r = registry_begin(registry);

	for (struct list *l = lifecycle->dirty.next; l != &lifecycle->dirty && r == 0; l = l->next) {
		const struct session *session = container_of(l, struct session, of_dirty);
		r = session->forgotten ? registry_delete_session(registry, session->record.number)
				       : registry_put_session(registry, &session->record);
	}
	for (struct list *l = lifecycle->volumes.dirty.next; l != &lifecycle->volumes.dirty && r == 0; l = l->next) {
		const struct volume *volume = container_of(l, struct volume, of_dirty);
		r = volume->forgotten ? registry_delete_volume(registry, volume->record.name)
				      : registry_put_volume(registry, &volume->record);
	}
	if (r == 0)
		r = events_write(&lifecycle->events);
	if (r == 0)
		r = registry_commit(registry);
	if (r < 0)
		registry_rollback(registry);
	return r;
}

static void ignore_answer(void *owner _unused_, struct msg *answer _unused_)
{
}

int lifecycle_tell_noted(struct lifecycle *lifecycle, const char *id)
{
	return super_link_tell(&lifecycle->super, SUPER_NOTED, id, ignore_answer, lifecycle);
}

/*
 * With the disk full, too: how a session ended may be forgotten then, but not that its resources are wanted back. 0, or
 * negative when one could not be told, for want of memory.
 */
static int tell_ends_noted(struct lifecycle *lifecycle)
{
	int r = 0;

	for (struct list *l = lifecycle->dirty.next; l != &lifecycle->dirty; l = l->next) {
		struct session *session = container_of(l, struct session, of_dirty);
		if (!session->init_gone || session->noted)
			continue;
		session->noted = lifecycle_tell_noted(lifecycle, session->record.host_id) == 0;
		r = session->noted ? r : -ENOMEM;
	}
	return r;
}

static void settle_written(struct lifecycle *lifecycle)
{
	struct loop *loop = lifecycle_loop(lifecycle);

	for (struct list *l; (l = list_take_first(&lifecycle->dirty));) {
		struct session *session = container_of(l, struct session, of_dirty);
		session->dirty = false;
		if (session->forgotten)
			session_free(session);
	}
	volumes_settle(lifecycle);
	if (lifecycle->volumes.promised)
		registry_checkpoint(lifecycle->registry);
	lifecycle->volumes.promised = false;
	if (!lifecycle->checkpoint.place)
		loop_arm(loop, &lifecycle->checkpoint, boottime_ns() + CHECKPOINT_NS);
}

/* Tells those who wait for what has just been written. What they set off is written in the next round. */
static void tell_written(struct list *written)
{
	for (struct list *l; (l = list_take_first(written));)
		session_written(container_of(l, struct session, of_written));
}

/* The registry knows of them, or why it does not: what was to happen after that happens. */
static void launch(struct lifecycle *lifecycle, int r)
{
	while (!list_is_empty(&lifecycle->launch)) {
		struct session *session = container_of(lifecycle->launch.next, struct session, of_launch);
		if (!session->create)
			pool_launch(session, r);
		else if (r == 0)
			session_launch(session);
		else
			session_failed_to_start(session, "registry", r, "the registry below %s cannot be written: %s",
				lifecycle_config(lifecycle)->state_dir, strerror(-r));
	}
}

static void flush(struct lifecycle *lifecycle)
{
	int r = write_changes(lifecycle);
	struct list written;

	list_init(&written);
	for (struct list *l = lifecycle->dirty.next; l != &lifecycle->dirty; l = l->next)
		list_append(&written, &container_of(l, struct session, of_dirty)->of_written);
	int told = tell_ends_noted(lifecycle);
	if (r == 0 && told == 0)
		settle_written(lifecycle);
	else
		loop_arm(lifecycle_loop(lifecycle), &lifecycle->flush, boottime_ns() + WRITE_AGAIN_NS);
	if (r < 0 && lifecycle->write_error == 0)
		say("registry: below %s it cannot be written: %s; trying again every second",
			lifecycle_config(lifecycle)->state_dir, strerror(-r));
	lifecycle->write_error = r;
	events_publish(&lifecycle->events, r == 0);
	tell_written(&written);
	launch(lifecycle, r);
	/* With the disk full, too: a removal is what makes room. */
	volumes_written(lifecycle);
}

static void on_flush(struct loop_timer *timer)
{
	flush(container_of(timer, struct lifecycle, flush));
}

static void on_checkpoint(struct loop_timer *timer)
{
	registry_checkpoint(container_of(timer, struct lifecycle, checkpoint)->registry);
}

static void on_fresh_event(struct events *events)
{
	lifecycle_flush_soon(container_of(events, struct lifecycle, events));
}

/* ---- ended sessions ---- */

static void on_sweep(struct loop_timer *timer);

/* Sets the sweep for the oldest record; the end's time is of CLOCK_REALTIME, which may have been set meanwhile. */
static void arm_sweep(struct lifecycle *lifecycle)
{
	const uint64_t kept = ENDED_KEPT_SECONDS * NS_PER_SEC;
	uint64_t now = realtime_ns(), wait = kept;

	if (list_is_empty(&lifecycle->ended))
		return;
	const struct session *oldest = container_of(lifecycle->ended.next, struct session, of_ended);
	if (oldest->record.end.at_ns <= now)
		wait = now - oldest->record.end.at_ns >= kept ? 0 : kept - (now - oldest->record.end.at_ns);
	lifecycle->sweep.fn = on_sweep;
	loop_arm(lifecycle_loop(lifecycle), &lifecycle->sweep, boottime_ns() + wait);
}

static void on_sweep(struct loop_timer *timer)
{
	struct lifecycle *lifecycle = container_of(timer, struct lifecycle, sweep);
	uint64_t now = realtime_ns();

	while (!list_is_empty(&lifecycle->ended)) {
		struct session *oldest = container_of(lifecycle->ended.next, struct session, of_ended);
		if (oldest->record.end.at_ns + ENDED_KEPT_SECONDS * NS_PER_SEC > now)
			break;
		session_forget(oldest);
	}
	arm_sweep(lifecycle);
}

static void keep_output(struct lifecycle *lifecycle, struct session *session)
{
	if (session->output_fd < 0)
		return;
	list_append(&lifecycle->outputs, &session->of_output);
	size_t n = 0;
	for (const struct list *l = lifecycle->outputs.next; l != &lifecycle->outputs; l = l->next)
		n++;
	if (n <= ENDED_OUTPUTS_KEPT)
		return;
	struct list *first = list_take_first(&lifecycle->outputs);
	close_fdp(&container_of(first, struct session, of_output)->output_fd);
}

void lifecycle_keep_ended(struct lifecycle *lifecycle, struct session *session)
{
	struct list *after = lifecycle->ended.prev;

	/* Almost always the newest; not as the registry gives them, in the order of their creation. */
	while (after != &lifecycle->ended &&
		container_of(after, struct session, of_ended)->record.end.at_ns > session->record.end.at_ns)
		after = after->prev;
	/* Before what follows it there. */
	list_append(after->next, &session->of_ended);
	keep_output(lifecycle, session);
	if (lifecycle->n_by_state[SESSION_ENDED] > ENDED_KEPT)
		session_forget(container_of(lifecycle->ended.next, struct session, of_ended));
	if (!lifecycle->sweep.place)
		arm_sweep(lifecycle);
}

/* ---- the supervisor ---- */

static void give_up(struct lifecycle *lifecycle, const char *why)
{
	say("%s", why);
	lifecycle_loop(lifecycle)->stop = true;
}

static void on_session(struct super_link *link, const struct super_ev_session *event, int *fds, size_t n_fds)
{
	struct lifecycle *lifecycle = container_of(link, struct lifecycle, super);

	/* Only the list that this process asks for when it begins has any. */
	if (!lifecycle->ready)
		return;
	if (event->state == SUPER_LIVE && n_fds == 0)
		give_up(lifecycle, "no descriptors are left for the sessions that live");
	else
		adopt_live(lifecycle, event, fds, n_fds);
}

static void on_volumes(struct super_link *link, const struct super_ev_volumes *event)
{
	volumes_adopt(container_of(link, struct lifecycle, super), event);
}

static void on_exited(struct super_link *link, const struct super_ev_exited *event)
{
	struct lifecycle *lifecycle = container_of(link, struct lifecycle, super);
	struct session *session = session_find_by_host_id(lifecycle, event->id);

	/* The list is still to come, and brings the output with it that says how it ended. */
	if (lifecycle->ready && !(session && session->confirmed))
		return;
	/* Of one whose end was told before it came, there is nothing to write. */
	if (session && session_is_made(session) && session_is_live(session))
		session_exited(session, event);
	else
		lifecycle_tell_noted(lifecycle, event->id);
}

static void on_gone(struct super_link *link, const char *id)
{
	struct session *session = session_find_by_host_id(container_of(link, struct lifecycle, super), id);

	if (session && session_is_made(session))
		session_gone(session);
}

/* Without a supervisor there is nothing to do; it starts another control process, which finds the sessions again. */
static void on_super_closed(struct super_link *link, int error)
{
	give_up(container_of(link, struct lifecycle, super),
		error == 0 ? "the supervisor ended" : "the channel to the supervisor broke");
}

static void on_listed(void *owner, struct msg *answer)
{
	struct lifecycle *lifecycle = owner;

	if (!answer)
		return;
	if (((const struct super_done *)(const void *)answer->bytes)->err.num < 0) {
		give_up(lifecycle, "the supervisor cannot list the sessions");
		return;
	}
	void (*ready)(struct control * control) = lifecycle->ready;
	adopt_finish(lifecycle);
	volumes_adopt_finish(lifecycle);
	lifecycle->ready = NULL;
	pools_adjust(lifecycle);
	flush(lifecycle);
	ready(lifecycle->control);
}

static void on_welcome(void *owner, struct msg *answer)
{
	struct lifecycle *lifecycle = owner;
	char text[ERR_STEP_SIZE + ERR_OBJECT_SIZE + 64];

	if (!answer)
		return;
	const struct super_welcome *welcome = (const void *)answer->bytes;
	if (welcome->err.num < 0)
		give_up(lifecycle, err_text(&welcome->err, text, sizeof(text)));
	else if (super_link_ask(&lifecycle->super, SUPER_LIST, on_listed, lifecycle) < 0)
		give_up(lifecycle, "the supervisor cannot be asked for the sessions");
}

static int say_hello(struct lifecycle *lifecycle)
{
	struct super_hello hello = { 0 };

	snprintf(hello.version, sizeof(hello.version), "%s", carrel_version);
	msg_init(&hello.header, SUPER_HELLO, 0, sizeof(hello));
	return super_link_send(&lifecycle->super, &hello.header, NULL, 0, on_welcome, lifecycle);
}

/* ---- start and stop ---- */

/* Frees everything; the sessions themselves go on. */
static void lifecycle_free(struct lifecycle *lifecycle)
{
	struct loop *loop = lifecycle_loop(lifecycle);

	while (!list_is_empty(&lifecycle->all))
		session_free(container_of(lifecycle->all.next, struct session, of_all));
	/* Forgotten ones that the registry could not yet be told about. */
	while (!list_is_empty(&lifecycle->dirty))
		session_free(container_of(lifecycle->dirty.next, struct session, of_dirty));
	volumes_free(lifecycle);
	pools_free(lifecycle);
	if (lifecycle->events.loop)
		events_stop(&lifecycle->events);
	loop_disarm(loop, &lifecycle->flush);
	loop_disarm(loop, &lifecycle->checkpoint);
	loop_disarm(loop, &lifecycle->sweep);
	metrics_stop(lifecycle);
	loop_disarm(loop, &lifecycle->admission.serve);
	super_link_close(&lifecycle->super);
	registry_close(lifecycle->registry);
	index_free(&lifecycle->by_id);
	index_free(&lifecycle->by_host_id);
	index_free(&lifecycle->by_key);
	index_free(&lifecycle->by_place);
	index_free(&lifecycle->owners);
	index_free(&lifecycle->users);
	index_free(&lifecycle->templates);
	relay_pool_release(&lifecycle->relays);
	close_fd(lifecycle->null_fd);
	free(lifecycle);
}

static struct lifecycle *lifecycle_new(struct control *control)
{
	struct lifecycle *lifecycle = calloc(1, sizeof(*lifecycle));

	if (!lifecycle)
		return NULL;
	lifecycle->control = control;
	lifecycle->null_fd = -1;
	lifecycle->relays.loop = &control->loop;
	lifecycle->flush.fn = on_flush;
	lifecycle->checkpoint.fn = on_checkpoint;
	list_init(&lifecycle->all);
	list_init(&lifecycle->ended);
	list_init(&lifecycle->outputs);
	list_init(&lifecycle->dirty);
	list_init(&lifecycle->launch);
	admission_start(lifecycle);
	lifecycle->super.on_session = on_session;
	lifecycle->super.on_volumes = on_volumes;
	lifecycle->super.on_exited = on_exited;
	lifecycle->super.on_gone = on_gone;
	lifecycle->super.on_closed = on_super_closed;
	if (index_init(&lifecycle->by_id) < 0 || index_init(&lifecycle->by_host_id) < 0 ||
		index_init(&lifecycle->by_key) < 0 || index_init(&lifecycle->by_place) < 0 ||
		index_init(&lifecycle->owners) < 0 || index_init(&lifecycle->users) < 0 ||
		index_init(&lifecycle->templates) < 0 || volumes_init(&lifecycle->volumes) < 0 ||
		pools_init(lifecycle) < 0 || metrics_start(lifecycle) < 0) {
		lifecycle_free(lifecycle);
		return NULL;
	}
	return lifecycle;
}

/* The registry and what it remembers; says on standard error what is wrong with it. */
static int open_registry(struct lifecycle *lifecycle)
{
	struct control *control = lifecycle->control;
	bool damaged = false;
	char text[256];

	int r = registry_open(control->config.state_dir, &lifecycle->registry, &damaged, text, sizeof(text));
	if (damaged)
		say("registry: it is damaged, and was set aside as registry.db.damaged; an empty one is begun");
	if (r < 0) {
		say("registry: %s", text[0] ? text : strerror(-r));
		return r;
	}
	lifecycle->admission.draining = registry_is_draining(lifecycle->registry);
	lifecycle->events.loop = &control->loop;
	lifecycle->events.registry = lifecycle->registry;
	lifecycle->events.boot_id = control->boot_id;
	lifecycle->events.history = control->config.event_history;
	lifecycle->events.on_fresh = on_fresh_event;
	r = events_start(&lifecycle->events);
	if (r == 0)
		r = registry_load_volumes(lifecycle->registry, volumes_adopt_record, lifecycle);
	if (r == 0)
		r = registry_load_pools(lifecycle->registry, pools_load, lifecycle);
	if (r == 0)
		r = registry_load(lifecycle->registry, adopt_record, lifecycle);
	if (r < 0)
		say("registry: cannot be read: %s", strerror(-r));
	else if (damaged)
		events_emit(&lifecycle->events, "system.registry_damaged", "", "", NULL);
	return r;
}

int lifecycle_start(struct control *control, int super_fd, void (*ready)(struct control *control))
{
	struct lifecycle *lifecycle = lifecycle_new(control);
	_close_ int fd = super_fd;

	if (!lifecycle)
		return -ENOMEM;
	lifecycle->ready = ready;
	control->lifecycle = lifecycle;
	lifecycle->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int r = lifecycle->null_fd < 0 ? -errno : open_registry(lifecycle);
	if (r == 0)
		r = super_link_open(&lifecycle->super, &control->loop, steal_fd(&fd));
	if (r == 0)
		r = say_hello(lifecycle);
	if (r < 0) {
		say("cannot begin: %s", strerror(-r));
		lifecycle_stop(control);
	}
	return r;
}

/* For somebody who asked and will get no answer from this process any more. */
static void fail_all_waiters(struct lifecycle *lifecycle)
{
	for (struct list *l = lifecycle->all.next; l != &lifecycle->all; l = l->next)
		session_fail_waiters(
			container_of(l, struct session, of_all), E_UNAVAILABLE, "goes on, but this service ends");
}

void lifecycle_stop(struct control *control)
{
	struct lifecycle *lifecycle = steal_ptr(&control->lifecycle);

	if (!lifecycle)
		return;
	admission_stop(lifecycle);
	fail_all_waiters(lifecycle);
	super_link_close(&lifecycle->super);
	if (lifecycle->registry && write_changes(lifecycle) < 0)
		say("registry: the last changes cannot be written");
	lifecycle_free(lifecycle);
}

/* ---- for the server ---- */

size_t lifecycle_n_live(const struct lifecycle *lifecycle)
{
	size_t n = 0;

	for (enum session_state i = 0; i < SESSION_ENDED; i++)
		n += lifecycle->n_by_state[i];
	return n;
}

void lifecycle_count(const struct control *control, size_t *ret_live, size_t *ret_ready)
{
	*ret_live = lifecycle_n_live(control->lifecycle);
	*ret_ready = control->lifecycle->n_by_state[SESSION_READY];
}

json_t *lifecycle_states(const struct control *control)
{
	json_t *states = json_object();

	for (enum session_state i = 0; i < SESSION_STATE_COUNT; i++)
		json_put(&states, session_state_name(i), json_integer((json_int_t)control->lifecycle->n_by_state[i]));
	return states;
}

const char *lifecycle_status(const struct control *control)
{
	const struct lifecycle *lifecycle = control->lifecycle;

	return lifecycle->write_error < 0 ? "degraded" : lifecycle->admission.draining ? "draining" : "ok";
}

static const char *check_state_name(uint32_t state)
{
	return state == CHECK_OK ? "ok" : state == CHECK_DEGRADED ? "degraded" : "missing";
}

static void on_checked(void *owner, struct msg *answer)
{
	struct call *call = owner;

	if (!answer) {
		call_fail(call, E_UNAVAILABLE, true, NULL, "the supervisor ended before it answered");
		return;
	}
	const struct super_checked *checked = (const void *)answer->bytes;
	json_t *items = json_array(), *result = json_object();
	for (size_t i = 0; i < checked->n_items; i++) {
		const struct check_item *item = &checked->items[i];
		json_t *json = json_object();
		json_put(&json, "name", json_text(item->name));
		json_put(&json, "state", json_string(check_state_name(item->state)));
		json_put(&json, "detail", json_text(item->detail));
		json_put(&json, "remedy", item->remedy[0] ? json_text(item->remedy) : json_null());
		json_append(&items, json);
	}
	json_put(&result, "items", items);
	call_reply(call, result);
}

void lifecycle_check(struct call *call)
{
	int r = super_link_ask(&call_control(call)->lifecycle->super, SUPER_CHECK, on_checked, call);

	if (r < 0)
		call_fail(call, E_UNAVAILABLE, true, &(struct error_details){ .err_no = -r },
			"the supervisor cannot be asked: %s", strerror(-r));
}
