/* SPDX-License-Identifier: Apache-2.0 */
/* What the audit log says, what it never says, and how much of it there is. */
#include "unit.h"

#include "control/audit.h"
#include "control/control.h"
#include "control/error.h"
#include "control/rpc.h"
#include "wire/loop.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

static const struct caller caller = { .uid = 1000, .gid = 1000, .pid = 77, .role = ROLE_CLIENT };

struct capture {
	int fd, kept;
};

/* Standard error goes into memory until capture_end(). */
static struct capture capture_begin(void)
{
	struct capture capture = { memfd_create("stderr", MFD_CLOEXEC), dup(STDERR_FILENO) };

	assert_true(capture.fd >= 0 && capture.kept >= 0);
	dup2(capture.fd, STDERR_FILENO);
	return capture;
}

/* The lines, the caller's. */
static char *capture_end(struct capture capture)
{
	off_t n = lseek(capture.fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)n + 1);

	dup2(capture.kept, STDERR_FILENO);
	close(capture.kept);
	assert_int_equal(pread(capture.fd, text, (size_t)n, 0), n);
	close(capture.fd);
	return text;
}

/* The object of a line. */
static json_t *parse(const char *line)
{
	const char *prefix = "carrel-control: audit ";

	assert_int_equal(strncmp(line, prefix, strlen(prefix)), 0);
	json_t *json = json_loads(line + strlen(prefix), JSON_DISABLE_EOF_CHECK, NULL);
	assert_non_null(json);
	return json;
}

static json_t *write_one(const char *method, json_t *params, json_t *answer)
{
	struct audit_budget budget = { 0 };
	struct capture capture = capture_begin();

	audit_write(&budget, boottime_ns(),
		&(struct audit_entry){ &caller, method_find(method), params, answer, 12 * NS_PER_MS });
	char *text = capture_end(capture);
	json_t *json = parse(text);
	json_decref(params);
	json_decref(answer);
	free(text);
	return json;
}

static void check(const json_t *json, const char *expected)
{
	char *text = json_dumps(json, JSON_COMPACT);

	assert_string_equal(text, expected);
	free(text);
}

static void test_names_only(void **state _unused_)
{
	json_t *line = write_one("session.create",
		json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:[s]}", "template", "minimal", "owner", "ann\n\"x", "env",
			"A", "hidden", "secrets", "B", "hidden", "command", "hidden"),
		json_pack("{s:{s:s, s:s}}", "result", "id", "sess-1", "owner", "ann"));

	check(line,
		"{\"uid\":1000,\"pid\":77,\"role\":\"client\",\"method\":\"session.create\",\"session\":\"sess-1\","
		"\"owner\":\"ann\\n\\\"x\",\"template\":\"minimal\",\"outcome\":\"ok\",\"ms\":12}");
	json_decref(line);
}

static void test_refusals(void **state _unused_)
{
	json_t *error = error_object(E_DENIED, false, &(struct error_details){ .session = "s2" }, "no");
	json_t *line =
		write_one("session.stop", json_pack("{s:s}", "owner", "bob"), json_pack("{s:o}", "error", error));

	check(line, "{\"uid\":1000,\"pid\":77,\"role\":\"client\",\"method\":\"session.stop\",\"session\":\"s2\","
		    "\"owner\":\"bob\",\"outcome\":\"denied\",\"ms\":12}");
	json_decref(line);
	/* What is too long for a name, or is none, is left out. */
	char *text = calloc(1, 1000);
	memset(text, 'x', 999);
	line = write_one("session.stop", json_pack("{s:s, s:[]}", "owner", text, "session"), NULL);
	check(line, "{\"uid\":1000,\"pid\":77,\"role\":\"client\",\"method\":\"session.stop\",\"outcome\":\"failed\","
		    "\"ms\":12}");
	json_decref(line);
	free(text);
}

static void test_budget(void **state _unused_)
{
	struct audit_budget budget = { 0 };
	const struct audit_entry entry = { &caller, method_find("session.stop"), NULL, NULL, 0 };
	uint64_t now = boottime_ns();
	struct capture capture = capture_begin();
	unsigned n = 0;

	for (unsigned i = 0; i < AUDIT_BURST + 50; i++)
		audit_write(&budget, now, &entry);
	audit_write(&budget, now + NS_PER_SEC / AUDIT_PER_SECOND, &entry);
	char *text = capture_end(capture);
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		n++;
	assert_int_equal(n, AUDIT_BURST + 1);
	text[strlen(text) - 1] = '\0';
	json_t *last = parse(strrchr(text, '\n') + 1);
	assert_int_equal(json_integer_value(json_object_get(last, "left_out")), 50);
	json_decref(last);
	free(text);
	/* Whoever leaves does not take the count with him. */
	audit_write(&budget, now, &entry);
	capture = capture_begin();
	audit_close(&budget, 1000);
	audit_close(&budget, 1000);
	text = capture_end(capture);
	assert_string_equal(text, "carrel-control: audit {\"uid\":1000,\"left_out\":1}\n");
	free(text);
}

static void test_what_is_written(void **state _unused_)
{
	struct config config = { .audit = AUDIT_CHANGES };

	assert_true(audit_wants(&config, method_find("session.create")));
	assert_true(audit_wants(&config, method_find("exec.run")));
	assert_false(audit_wants(&config, method_find("session.list")));
	config.audit = AUDIT_ALL;
	assert_true(audit_wants(&config, method_find("session.list")));
	config.audit = AUDIT_NONE;
	assert_false(audit_wants(&config, method_find("session.create")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_only),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_what_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
