/* SPDX-License-Identifier: Apache-2.0 */
/* File calls of control against children of the test's own, which are well, slow or hostile. */
#include "unit.h"

#include "fake_host.h"

#include "control/file_archive.h"
#include "control/file_pool.h"

static int setup(void **state)
{
	struct fake_host *host = host_new();

	host_start(host);
	json_decref(host_create(host, "plain", "one"));
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	host_free(*state);
	return 0;
}

static json_t *params(void)
{
	return json_pack("{s:s, s:s}", "session", "one", "path", "/f");
}

static json_t *with(const char *name, json_t *value)
{
	json_t *all = params();

	json_object_set_new(all, name, value);
	return all;
}

static size_t n_children(struct fake_host *host)
{
	return fake_files_count(host_session(host, "one"));
}

static bool is_childless(void *arg)
{
	return n_children(arg) == 0;
}

/* ---- the usual course ---- */

static void test_children_are_kept(void **state)
{
	struct fake_host *host = *state;

	for (int i = 0; i < 3; i++) {
		json_t *result = host_ok(host, method_file_stat, params());
		check_string(result, "type", "file");
		check_string(result, "mode", "0644");
		json_decref(result);
	}
	assert_int_equal(n_children(host), 1);
	json_decref(host_ok(host, method_file_stat, with("user", json_string("daemon"))));
	assert_int_equal(n_children(host), 2);
}

static void test_refusals(void **state)
{
	struct fake_host *host = *state;

	host_refused(host, method_file_stat, json_pack("{s:s, s:s}", "session", "two", "path", "/"), E_NOT_FOUND, "",
		"two");
	host_refused(host, method_file_stat, with("path", json_string("f")), E_INVALID_PARAMS, "path", "absolute");
	host_refused(host, method_file_mkdir, with("mode", json_string("9")), E_INVALID_PARAMS, "mode", "octal");
	host_refused(host, method_file_write, params(), E_INVALID_PARAMS, "content", "either");
	host_refused(
		host, method_file_list, with("cursor", json_string("Zg")), E_INVALID_PARAMS, "cursor", "next_cursor");
	json_decref(host_ok(host, method_session_pause, json_pack("{s:s}", "session", "one")));
	host_refused(host, method_file_stat, params(), E_INVALID_STATE, "", "paused");
	assert_int_equal(n_children(host), 0);
}

static void test_not_started(void **state)
{
	struct fake_host *host = *state;

	err_set(&host->exec_error, -ENOENT, "user", "%s", "nonesuch");
	struct call *call = host_error(host, method_file_stat, params());
	assert_int_equal(call->kind, E_FAILED);
	assert_string_equal(call->step, "user");
	assert_int_equal(call->err_no, ENOENT);
	call_free(call);
	host->exec_error.num = 0;
	json_decref(host_ok(host, method_file_stat, params()));
}

static void test_what_a_child_says(void **state)
{
	struct fake_host *host = *state;

	host->files_fault = FILES_FAILS;
	struct call *call = host_error(host, method_file_stat, params());
	assert_int_equal(call->kind, E_NOT_FOUND);
	assert_string_equal(call->step, "open");
	assert_int_equal(call->err_no, ENOENT);
	call_free(call);
	assert_int_equal(n_children(host), 1);
}

/* ---- hostile ones ---- */

static void test_hostile(void **state)
{
	static const enum files_fault faults[] = { FILES_RUBBISH, FILES_WRONG_OP, FILES_WRONG_ID, FILES_CLOSED,
		FILES_MUCH };
	struct fake_host *host = *state;

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		host->files_fault = faults[i];
		struct call *call = host_error(host, method_file_read, params());
		assert_int_equal(call->kind, E_FAILED);
		call_free(call);
		/* The session is none the worse. */
		host->files_fault = FILES_WELL;
		json_decref(host_ok(host, method_file_stat, params()));
	}
}

static void test_two_answers(void **state)
{
	struct fake_host *host = *state;

	host->files_fault = FILES_TWICE;
	json_decref(host_ok(host, method_file_stat, params()));
	host_run(host, is_childless, host);
	host->files_fault = FILES_WELL;
	json_decref(host_ok(host, method_file_stat, params()));
}

static void test_timeout(void **state)
{
	struct fake_host *host = *state;

	host->files_fault = FILES_SILENT;
	struct call *call = host_error(host, method_file_stat, with("timeout_seconds", json_real(0.02)));
	assert_int_equal(call->kind, E_TIMEOUT);
	call_free(call);
	assert_true(host_session(host, "one")->n_signals > 0);
	host->files_fault = FILES_WELL;
	json_decref(host_ok(host, method_file_stat, params()));
}

/* ---- bounds and ends ---- */

static void test_bounds(void **state)
{
	enum { CALLS = FILE_CHILDREN + FILE_JOBS_WAITING };
	struct fake_host *host = *state;
	struct call *calls[CALLS];
	struct conn *conn = conn_new();

	host->files_fault = FILES_SILENT;
	for (size_t i = 0; i < CALLS; i++) {
		calls[i] = call_new(host, conn, params());
		method_file_stat(calls[i]);
	}
	host_idle(host, 5);
	assert_int_equal(n_children(host), FILE_CHILDREN);
	host_refused(host, method_file_stat, params(), E_LIMIT, "", "256 file calls");
	/* The end of the session is the end of all. */
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	for (size_t i = 0; i < CALLS; i++) {
		assert_true(calls[i]->answered);
		assert_int_equal(calls[i]->kind, E_INVALID_STATE);
		call_free(calls[i]);
	}
	conn_end(conn);
}

static void test_transfers(void **state)
{
	struct fake_host *host = *state;
	json_t *opened[FILE_TRANSFERS];

	for (size_t i = 0; i < FILE_TRANSFERS; i++)
		opened[i] = host_ok(host, method_archive_get, params());
	host_refused(host, method_archive_get, params(), E_LIMIT, "", "8 streams");
	/* Nobody comes for one, somebody for another. */
	stream_expire(host, json_object_get(opened[0], "stream"));
	int fd = stream_open(host, json_object_get(opened[1], "stream"));
	for (size_t i = 0; i < 2; i++) {
		json_t *wait =
			json_pack("{s:s, s:O}", "session", "one", "transfer", json_object_get(opened[i], "transfer"));
		if (i == 0)
			host_refused(host, method_file_wait, wait, E_TIMEOUT, "", "nobody came");
		else
			json_decref(host_ok(host, method_file_wait, wait));
	}
	close_fd(fd);
	for (size_t i = 0; i < FILE_TRANSFERS; i++)
		json_decref(opened[i]);
	host_refused(host, method_file_wait, with("transfer", json_string("x")), E_NOT_FOUND, "", "no transfer");
}

struct archived {
	unsigned n;
	enum error_kind kind;
	int num;
};

static void on_archived(void *arg, enum error_kind kind, const struct err *err)
{
	struct archived *archived = arg;

	archived->n++;
	archived->kind = kind;
	archived->num = err->num;
}

static bool is_archived(void *arg)
{
	return ((struct archived *)arg)->n > 0;
}

static void test_archive_for_others(void **state)
{
	struct fake_host *host = *state;
	struct session *session = session_find(host->control.lifecycle, "one");
	struct archived archived = { 0 };
	struct transfer *transfer, *others[FILE_TRANSFERS];
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(
		file_archive_start(session, "/d", "Dockerfile", ends[1], on_archived, &archived, &transfer), 0);
	host_run(host, is_archived, &archived);
	assert_int_equal(archived.num, 0);
	archived.n = 0;
	assert_int_equal(
		file_archive_start(session, "d", "Dockerfile", ends[1], on_archived, &archived, &transfer), 0);
	assert_int_equal(archived.n, 1);
	assert_int_equal(archived.num, -EINVAL);
	/* Cancelled, nothing is said. */
	archived.n = 0;
	host->files_fault = FILES_SILENT;
	assert_int_equal(
		file_archive_start(session, "/d", "Dockerfile", ends[1], on_archived, &archived, &transfer), 0);
	host_idle(host, 5);
	file_archive_cancel(transfer);
	/* So many at once and no more. */
	for (size_t i = 0; i < FILE_TRANSFERS; i++)
		assert_int_equal(
			file_archive_start(session, "/d", "D", ends[1], on_archived, &archived, &others[i]), 0);
	assert_int_equal(archived.n, 0);
	assert_int_equal(file_archive_start(session, "/d", "D", ends[1], on_archived, &archived, &transfer), 0);
	assert_int_equal(archived.n, 1);
	assert_int_equal(archived.kind, E_LIMIT);
	for (size_t i = 0; i < FILE_TRANSFERS; i++)
		file_archive_cancel(others[i]);
	archived.n = 0;
	/* The session ends under one. */
	assert_int_equal(
		file_archive_start(session, "/d", "Dockerfile", ends[1], on_archived, &archived, &transfer), 0);
	host_idle(host, 5);
	json_decref(host_ok(host, method_session_stop, json_pack("{s:s}", "session", "one")));
	assert_int_equal(archived.n, 1);
	assert_int_equal(archived.num, -ECANCELED);
	close_fds(ends, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_children_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_started, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_a_child_says, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_transfers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_archive_for_others, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
