/* SPDX-License-Identifier: Apache-2.0 */
#include "control/space.h"

#include "control/lifecycle.h"
#include "control/session_methods.h"

#define PATIENCE_NS (2 * NS_PER_SEC)

enum { FULL_BELOW = 100, ROOMY_ABOVE = 20 }; /* a hundredth is left; a twentieth is free again */

_Static_assert(2 * INIT_MAX_PLACES <= 64, "a bit for each");

struct waiting {
	struct list of_session;
	struct call *call;
};

/* ---- news ---- */

/* The limit by the name it has in templates: "limits.root_bytes", or the member of "mounts". */
static const char *limit_of(const struct init_space *space, bool inodes)
{
	if (streq(space->target, "/"))
		return limit_table[inodes ? LIMIT_ROOT_INODES : LIMIT_ROOT_BYTES].name;
	if (streq(space->target, "/dev/shm"))
		return limit_table[LIMIT_SHM_BYTES].name;
	return inodes ? "inodes" : "size_bytes";
}

/* What init says is text of the session's. */
static json_t *target_json(const struct init_space *space)
{
	char text[3 * sizeof(space->target) + 1];
	size_t n = utf8_scrub((const uint8_t *)space->target, strlen(space->target), text);

	return json_stringn(text, n);
}

static void judge(struct session *session, const struct init_space *space, uint32_t place, bool inodes)
{
	struct space_watch *watch = &session->space;
	const uint64_t bit = UINT64_C(1) << (2 * place + inodes), total = inodes ? space->inodes : space->bytes;
	const uint64_t left = inodes ? space->inodes_free : space->bytes_free;

	if (left > total / ROOMY_ABOVE)
		watch->told &= ~bit;
	if (total == 0 || left > total / FULL_BELOW || watch->told & bit)
		return;
	watch->told |= bit;
	limit_watch_tell(session, "session.full",
		json_pack("{s:s, s:o, s:I}", "limit", limit_of(space, inodes), "mount", target_json(space),
			inodes ? "inodes" : "bytes", (json_int_t)(total & INT64_MAX)));
}

/* ---- a look ---- */

static void answer_waiting(struct session *session)
{
	loop_disarm(lifecycle_loop(session->lifecycle), &session->space.patience);
	for (struct list *l; (l = list_take_first(&session->space.waiting));) {
		struct waiting *waiting = container_of(l, struct waiting, of_session);
		session_reply_stats(session, waiting->call);
		free(waiting);
	}
}

static int ask(struct session *session);

static void on_space(void *owner, struct msg *answer)
{
	struct session *session = owner;
	struct space_watch *watch = &session->space;
	const struct init_space *space = answer ? (const void *)answer->bytes : NULL;

	watch->asking = false;
	if (!space || !watch->places)
		return;
	watch->places[watch->at] = *space;
	judge(session, space, watch->at, false);
	judge(session, space, watch->at, true);
	watch->at++;
	if (watch->at < space->n_places && ask(session) == 0)
		return;
	watch->n_places = watch->at;
	answer_waiting(session);
}

static int ask(struct session *session)
{
	struct init_place request = { .place = session->space.at };

	msg_init(&request.header, INIT_SPACE, 0, sizeof(request));
	int r = init_link_send(&session->init, &request.header, NULL, 0, on_space, session);
	session->space.asking = r == 0;
	return r;
}

void space_look(struct session *session)
{
	struct space_watch *watch = &session->space;

	if (watch->asking || !init_link_is_open(&session->init) || session->record.state == SESSION_PAUSED)
		return;
	if (!watch->places)
		watch->places = calloc(INIT_MAX_PLACES, sizeof(*watch->places));
	if (!watch->places)
		return;
	watch->at = 0;
	ask(session);
}

static void on_patience(struct loop_timer *timer)
{
	answer_waiting(container_of(timer, struct session, space.patience));
}

bool space_wait(struct session *session, struct call *call)
{
	struct space_watch *watch = &session->space;

	/* When it ends, or has, nobody is there who would be told. */
	space_look(session);
	struct waiting *waiting = watch->asking ? malloc(sizeof(*waiting)) : NULL;
	if (!waiting)
		return false;
	waiting->call = call;
	if (!watch->patience.place)
		loop_arm(lifecycle_loop(session->lifecycle), &watch->patience, boottime_ns() + PATIENCE_NS);
	list_append(&watch->waiting, &waiting->of_session);
	return true;
}

json_t *space_json(const struct session *session)
{
	const struct space_watch *watch = &session->space;

	if (watch->n_places == 0)
		return json_null();
	json_t *array = json_array();
	for (uint32_t i = 0; i < watch->n_places; i++) {
		const struct init_space *s = &watch->places[i];
		json_array_append_new(array,
			json_pack("{s:o, s:{s:I, s:I}, s:{s:I, s:I}}", "mount", target_json(s), "bytes", "limit",
				(json_int_t)(s->bytes & INT64_MAX), "free", (json_int_t)(s->bytes_free & INT64_MAX),
				"inodes", "limit", (json_int_t)(s->inodes & INT64_MAX), "free",
				(json_int_t)(s->inodes_free & INT64_MAX)));
	}
	return array;
}

/* ---- beginning and end ---- */

void space_start(struct session *session)
{
	session->space = (struct space_watch){ .patience.fn = on_patience };
	list_init(&session->space.waiting);
}

void space_stop(struct session *session)
{
	struct space_watch *watch = &session->space;

	if (!watch->patience.fn)
		return;
	answer_waiting(session);
	free(watch->places);
	watch->places = NULL;
	watch->n_places = 0;
}
