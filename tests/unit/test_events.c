/* SPDX-License-Identifier: Apache-2.0 */
/* Events on their way from who emits them to who subscribed: nothing missed, nothing twice, nothing of others. */
#include "unit.h"

#include "fake_host.h"

struct fixture {
	struct fake_host *host; /* for its directory, loop and calls; no lifecycle runs */
	struct events events;
	unsigned n_fresh;
};

static void on_fresh(struct events *events)
{
	container_of(events, struct fixture, events)->n_fresh++;
}

static void begin(struct fixture *f)
{
	bool damaged;
	char text[256];

	f->events = (struct events){ .loop = &f->host->control.loop,
		.boot_id = f->host->control.boot_id,
		.history = 1000,
		.on_fresh = on_fresh };
	assert_int_equal(registry_open(f->host->dir, &f->events.registry, &damaged, text, sizeof(text)), 0);
	assert_int_equal(events_start(&f->events), 0);
}

static void end(struct fixture *f)
{
	events_stop(&f->events);
	registry_close(f->events.registry);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->host = host_new();
	begin(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	end(f);
	host_free(f->host);
	free(f);
	return 0;
}

static void emit(struct fixture *f, const char *kind, const char *session, const char *owner)
{
	events_emit(&f->events, kind, session, owner, json_pack("{s:s}", "template", "plain"));
}

static void flush(struct fixture *f)
{
	assert_int_equal(registry_begin(f->events.registry), 0);
	assert_int_equal(events_write(&f->events), 0);
	assert_int_equal(registry_commit(f->events.registry), 0);
	events_publish(&f->events, true);
}

static void emit_many(struct fixture *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		emit(f, "session.created", "one", "ann");
	flush(f);
}

/* Subscribes CONN; the answer, the caller's. */
static json_t *subscribe(struct fixture *f, struct conn *conn, json_t *params)
{
	struct call *call = call_new(f->host, conn, params);

	events_subscribe(&f->events, call);
	assert_non_null(call->result);
	json_t *result = json_incref(call->result);
	call_free(call);
	return result;
}

static json_int_t seq_of(const json_t *event)
{
	return json_integer_value(json_object_get(event, "seq"));
}

static void test_from_now_on(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();

	emit_many(f, 3);
	json_t *result = subscribe(f, conn, json_object());
	assert_int_equal(json_integer_value(json_object_get(result, "last")), 3);
	assert_true(json_is_null(json_object_get(result, "gone")));
	json_decref(result);
	emit(f, "session.ended", "one", "ann");
	/* Nobody hears of what is not written. */
	assert_int_equal(json_array_size(conn->notifications), 0);
	flush(f);
	assert_int_equal(json_array_size(conn->notifications), 1);
	assert_string_equal(json_path(json_array_get(conn->notifications, 0), "method"), "event");
	assert_int_equal(seq_of(conn_notification(conn, 0)), 4);
	check_string(conn_notification(conn, 0), "kind", "session.ended");
	check_string(conn_notification(conn, 0), "session", "one");
	check_string(conn_notification(conn, 0), "owner", "ann");
	check_string(conn_notification(conn, 0), "template", "plain");
	check_string(conn_notification(conn, 0), "boot_id", "boot-one");
	assert_non_null(json_path(conn_notification(conn, 0), "at"));
	conn_end(conn);
}

static bool has_all(void *arg)
{
	return json_array_size(((struct conn *)arg)->notifications) >= 1005;
}

static void test_replay(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();

	f->events.history = 5000;
	emit_many(f, 1000);
	json_decref(subscribe(f, conn, json_pack("{s:i}", "since", 0)));
	/* New ones come while it still reads old ones, and behind them. */
	emit_many(f, 5);
	host_run(f->host, has_all, conn);
	assert_int_equal(json_array_size(conn->notifications), 1005);
	for (size_t i = 0; i < 1005; i++)
		assert_int_equal(seq_of(conn_notification(conn, i)), i + 1);
	emit_many(f, 1);
	assert_int_equal(seq_of(conn_notification(conn, 1005)), 1006);
	conn_end(conn);
}

static void test_gone(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();

	f->events.history = 10;
	emit_many(f, 30);
	json_t *result = subscribe(f, conn, json_pack("{s:i}", "since", 4));
	const json_t *gone = json_object_get(result, "gone");
	assert_int_equal(json_integer_value(json_object_get(gone, "from")), 5);
	assert_int_equal(json_integer_value(json_object_get(gone, "to")), 20);
	json_decref(result);
	host_idle(f->host, 10);
	assert_int_equal(json_array_size(conn->notifications), 10);
	assert_int_equal(seq_of(conn_notification(conn, 0)), 21);
	conn_end(conn);
}

static void test_gone_while_behind(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();

	f->events.history = 200;
	emit_many(f, 200);
	json_decref(subscribe(f, conn, json_pack("{s:i}", "since", 0)));
	/* Before it has read any, most are overwritten. */
	emit_many(f, 150);
	host_idle(f->host, 20);
	check_string(conn_notification(conn, 0), "kind", "events.gone");
	const json_t *gone = json_object_get(conn_notification(conn, 0), "gone");
	assert_int_equal(json_integer_value(json_object_get(gone, "from")), 1);
	assert_int_equal(json_integer_value(json_object_get(gone, "to")), 150);
	assert_int_equal(seq_of(conn_notification(conn, 1)), 151);
	assert_int_equal(json_array_size(conn->notifications), 201);
	conn_end(conn);
}

static void test_since_the_future(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(f->host, conn, json_pack("{s:i}", "since", 4));

	emit_many(f, 3);
	events_subscribe(&f->events, call);
	assert_null(call->result);
	assert_int_equal(call->kind, E_INVALID_PARAMS);
	assert_string_equal(call->path, "since");
	call_free(call);
	/* The last one itself: nothing has been missed. */
	json_t *result = subscribe(f, conn, json_pack("{s:i}", "since", 3));
	assert_true(json_is_null(json_object_get(result, "gone")));
	json_decref(result);
	host_idle(f->host, 10);
	assert_int_equal(json_array_size(conn->notifications), 0);
	conn_end(conn);
}

static void test_filters(void **state)
{
	struct fixture *f = *state;
	struct conn *by_owner = conn_new(), *by_session = conn_new(), *by_kind = conn_new(), *by_group = conn_new();

	json_decref(subscribe(f, by_owner, json_pack("{s:s}", "owner", "ann")));
	json_decref(subscribe(f, by_session, json_pack("{s:s}", "session", "two")));
	json_decref(subscribe(f, by_kind, json_pack("{s:[s]}", "kinds", "session.ended")));
	json_decref(subscribe(f, by_group, json_pack("{s:[s, s]}", "kinds", "system.*", "nothing")));
	emit(f, "session.created", "one", "ann");
	emit(f, "session.ended", "two", "anna");
	emit(f, "system.registry_damaged", "", "");
	flush(f);
	assert_int_equal(json_array_size(by_owner->notifications), 1);
	assert_int_equal(seq_of(conn_notification(by_owner, 0)), 1);
	assert_int_equal(json_array_size(by_session->notifications), 1);
	assert_int_equal(seq_of(conn_notification(by_session, 0)), 2);
	assert_int_equal(json_array_size(by_kind->notifications), 1);
	assert_int_equal(seq_of(conn_notification(by_kind, 0)), 2);
	assert_int_equal(json_array_size(by_group->notifications), 1);
	assert_int_equal(seq_of(conn_notification(by_group, 0)), 3);
	assert_true(json_is_null(json_object_get(conn_notification(by_group, 0), "session")));
	conn_end(by_owner);
	conn_end(by_session);
	conn_end(by_kind);
	conn_end(by_group);
}

static void test_visibility(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();
	struct call *call = call_new(f->host, conn, json_pack("{s:i}", "since", 0));

	emit(f, "session.created", "one", "team-a/ann");
	emit(f, "session.created", "two", "team-b/bob");
	emit(f, "session.created", "three", "");
	emit(f, "system.registry_damaged", "", "");
	flush(f);
	call->caller.role = ROLE_CLIENT;
	call->caller.owner_prefix = "team-a/";
	events_subscribe(&f->events, call);
	assert_non_null(call->result);
	call_free(call);
	emit(f, "session.ended", "two", "team-b/bob");
	emit(f, "session.ended", "one", "team-a/ann");
	emit(f, "system.registry_damaged", "", "");
	flush(f);
	host_idle(f->host, 10);
	assert_int_equal(json_array_size(conn->notifications), 2);
	assert_int_equal(seq_of(conn_notification(conn, 0)), 1);
	assert_int_equal(seq_of(conn_notification(conn, 1)), 6);
	conn_end(conn);
	/* A client without a prefix sees every session, but not the host. */
	conn = conn_new();
	call = call_new(f->host, conn, json_pack("{s:i}", "since", 0));
	call->caller.role = ROLE_CLIENT;
	events_subscribe(&f->events, call);
	call_free(call);
	host_idle(f->host, 10);
	assert_int_equal(json_array_size(conn->notifications), 5);
	assert_int_equal(seq_of(conn_notification(conn, 3)), 5);
	conn_end(conn);
}

/* Numbers that were given to events which never reached the registry. */
static void test_lost(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();

	emit_many(f, 3);
	f->events.next_seq += 5;
	emit(f, "session.ended", "one", "ann");
	json_decref(subscribe(f, conn, json_pack("{s:i}", "since", 0)));
	host_idle(f->host, 20);
	flush(f);
	assert_int_equal(json_array_size(conn->notifications), 5);
	const json_t *gone = json_object_get(conn_notification(conn, 3), "gone");
	assert_int_equal(json_integer_value(json_object_get(gone, "from")), 4);
	assert_int_equal(json_integer_value(json_object_get(gone, "to")), 8);
	assert_int_equal(seq_of(conn_notification(conn, 4)), 9);
	conn_end(conn);
}

static void test_one_subscription_a_connection(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();

	json_decref(subscribe(f, conn, json_pack("{s:s}", "owner", "ann")));
	json_decref(subscribe(f, conn, json_pack("{s:s}", "owner", "bob")));
	emit(f, "session.created", "one", "ann");
	emit(f, "session.created", "two", "bob");
	flush(f);
	assert_int_equal(json_array_size(conn->notifications), 1);
	check_string(conn_notification(conn, 0), "owner", "bob");
	conn_end(conn);
	/* Nobody is left to hear of it. */
	emit_many(f, 1);
}

static void test_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new();

	emit_many(f, 7);
	end(f);
	begin(f);
	emit_many(f, 1);
	json_decref(subscribe(f, conn, json_pack("{s:i}", "since", 6)));
	host_idle(f->host, 10);
	assert_int_equal(json_array_size(conn->notifications), 2);
	assert_int_equal(seq_of(conn_notification(conn, 0)), 7);
	assert_int_equal(seq_of(conn_notification(conn, 1)), 8);
	conn_end(conn);
}

static void test_unwritten(void **state)
{
	struct fixture *f = *state;
	struct conn *conn = conn_new(), *late = conn_new();

	json_decref(subscribe(f, conn, json_object()));
	emit(f, "session.created", "one", "ann");
	events_publish(&f->events, false);
	assert_int_equal(json_array_size(conn->notifications), 1);
	/* Written later, it is not sent again; and who comes later finds it. */
	emit(f, "session.ended", "one", "ann");
	flush(f);
	assert_int_equal(json_array_size(conn->notifications), 2);
	assert_int_equal(seq_of(conn_notification(conn, 1)), 2);
	json_decref(subscribe(f, late, json_pack("{s:i}", "since", 0)));
	host_idle(f->host, 10);
	assert_int_equal(json_array_size(late->notifications), 2);
	conn_end(conn);
	conn_end(late);
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_from_now_on), TEST(test_replay), TEST(test_gone), TEST(test_gone_while_behind),
		TEST(test_since_the_future), TEST(test_filters), TEST(test_visibility),
		TEST(test_one_subscription_a_connection), TEST(test_after_a_restart), TEST(test_lost), TEST(test_unwritten),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
