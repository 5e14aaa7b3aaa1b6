/* SPDX-License-Identifier: Apache-2.0 */
/* What a session runs, put together from template, image and request. */
#include "unit.h"

#include "control/command.h"

#include <stdio.h>
#include <sys/stat.h>

#include "wire/spec.h"

struct fixture {
	char dir[64], path[128];
	struct config config;
	struct template template;
	json_t *command, *env, *secrets;
};

static char *template_env[] = { "PATH=/bin", "LANG=C", "malformed", "=too", NULL };
static char *template_argv[] = { "sleep", "1000", NULL };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/carrel-unit-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/images", f->dir);
	assert_return_code(mkdir(f->path, 0700), errno);
	snprintf(f->path, sizeof(f->path), "%s/images/base.json", f->dir);
	f->config.state_dir = f->dir;
	f->template = (struct template){ .name = (char *)(uintptr_t) "t",
		.image = (char *)(uintptr_t) "base",
		.env = template_env,
		.uid = 1000,
		.gid = 1001 };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	json_decref(f->command);
	json_decref(f->env);
	json_decref(f->secrets);
	unlink(f->path);
	f->path[strlen(f->path) - strlen("/base.json")] = '\0';
	assert_return_code(rmdir(f->path), errno);
	assert_return_code(rmdir(f->dir), errno);
	free(f);
	return 0;
}

static void write_image(const struct fixture *f, const char *text)
{
	FILE *file = fopen(f->path, "we");

	fputs(text, file);
	fclose(file);
}

static int build(struct fixture *f, struct err *err)
{
	const struct command_request request = { .command = f->command, .env = f->env, .secrets = f->secrets };

	memset(err, 0, sizeof(*err));
	return command_workload(&f->config, &f->template, &request, err);
}

/* The spec that must come of it; to be released. */
static void build_ok(struct fixture *f, struct spec *ret)
{
	struct err err;
	char text[256];
	_close_ int fd = build(f, &err);

	if (fd < 0)
		fail_msg("%s", err_text(&err, text, sizeof(text)));
	assert_int_equal(spec_read(fd, ret), 0);
}

static void expect_strings(char *const *strings, const char *joined)
{
	char text[512] = "";

	for (; *strings; strings++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s|", *strings);
	assert_string_equal(text, joined);
}

static void test_template(void **state)
{
	struct fixture *f = *state;
	struct spec spec;

	f->template.command = template_argv;
	f->template.workdir = (char *)(uintptr_t) "/srv";
	f->template.cdp_pipe = true;
	build_ok(f, &spec);
	expect_strings(spec.argv, "sleep|1000|");
	expect_strings(spec.envp, "PATH=/bin|LANG=C|");
	assert_int_equal(spec.header->uid, 1000);
	assert_int_equal(spec.header->gid, 1001);
	assert_int_equal(spec.header->flags, SPEC_CDP_PIPE);
	assert_string_equal(spec.header->cwd, "/srv");
	assert_string_equal(spec.header->user, "");
	spec_release(&spec);
}

static void test_request_wins(void **state)
{
	struct fixture *f = *state;
	struct spec spec;

	f->template.command = template_argv;
	f->command = json_pack("[s]", "mine");
	f->env = json_pack("{s:s, s:s, s:s}", "LANG", "de", "A", "", "TOKEN", "plain");
	f->secrets = json_pack("{s:s}", "TOKEN", "a=b");
	build_ok(f, &spec);
	expect_strings(spec.argv, "mine|");
	expect_strings(spec.envp, "PATH=/bin|LANG=de|A=|TOKEN=a=b|");
	assert_string_equal(spec.header->cwd, "/");
	spec_release(&spec);
}

static void test_image(void **state)
{
	struct fixture *f = *state;
	struct spec spec;

	write_image(f, "{\"layers\": [], \"config\": {\"env\": [\"LANG=fr\", \"A=1\"], \"entrypoint\": [\"/entry\"],"
		       " \"cmd\": [\"a\", \"b\"], \"user\": \"web:www\", \"workdir\": \"/app\"}}");
	build_ok(f, &spec);
	expect_strings(spec.argv, "/entry|a|b|");
	expect_strings(spec.envp, "LANG=C|A=1|PATH=/bin|");
	assert_string_equal(spec.header->cwd, "/app");
	assert_string_equal(spec.header->user, "web:www");
	spec_release(&spec);
	/* The request's words take the place of the image's, behind its entrypoint; the template's directory comes first. */
	f->command = json_pack("[s]", "c");
	f->template.workdir = (char *)(uintptr_t) "/own";
	build_ok(f, &spec);
	expect_strings(spec.argv, "/entry|c|");
	assert_string_equal(spec.header->cwd, "/own");
	spec_release(&spec);
}

static void test_bare_image(void **state)
{
	struct fixture *f = *state;
	struct spec spec;
	struct err err;

	write_image(f, "{\"layers\": [], \"config\": {\"env\": null, \"cmd\": [\"run\"], \"user\": \"\", "
		       "\"workdir\": \"\"}}");
	build_ok(f, &spec);
	expect_strings(spec.argv, "run|");
	assert_string_equal(spec.header->cwd, "/");
	spec_release(&spec);
	write_image(f, "{\"layers\": []}");
	assert_int_equal(build(f, &err), -ENOEXEC);
	assert_string_equal(err.step, "command");
}

static void test_bad_images(void **state)
{
	static const char *const bad[] = { "", "[]", "{", "{\"config\": []}", "{\"config\": {\"cmd\": \"run\"}}",
		"{\"config\": {\"cmd\": [1]}}", "{\"config\": {\"user\": 0}}",
		"{\"config\": {\"env\": {\"A\": \"1\"}}}", "{\"config\": {}, \"config\": {}}" };
	struct fixture *f = *state;
	struct err err;

	assert_int_equal(build(f, &err), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		write_image(f, bad[i]);
		assert_true(build(f, &err) < 0);
		assert_string_equal(err.step, i == 1 ? "command" : "image");
	}
	/* Larger than any configuration, and no file at all. */
	assert_return_code(truncate(f->path, 2 << 20), errno);
	assert_int_equal(build(f, &err), -EINVAL);
	unlink(f->path);
	assert_return_code(mkfifo(f->path, 0600), errno);
	assert_int_equal(build(f, &err), -EINVAL);
}

static void test_bad_variables(void **state)
{
	struct fixture *f = *state;
	struct err err;

	f->template.command = template_argv;
	f->env = json_pack("{s:s}", "", "x");
	assert_int_equal(build(f, &err), -EINVAL);
	assert_string_equal(err.step, "env");
	json_decref(f->env);
	f->env = NULL;
	f->secrets = json_pack("{s:s}", "A=B", "s3cr3t");
	assert_int_equal(build(f, &err), -EINVAL);
	assert_string_equal(err.object, "A=B");
}

static void test_bounds(void **state)
{
	struct fixture *f = *state;
	struct err err;

	f->template.command = template_argv;
	f->command = json_array();
	for (int i = 0; i < SPEC_MAX_STRINGS; i++)
		json_array_append_new(f->command, json_string("x"));
	_close_ int fd = build(f, &err);
	assert_true(fd >= 0);
	json_array_append_new(f->command, json_string("x"));
	assert_int_equal(build(f, &err), -E2BIG);
	json_array_append_new(f->command, json_string("x"));
	assert_int_equal(build(f, &err), -E2BIG);
}

static void test_probe(void **state)
{
	static char *argv[] = { "test", "-e", "/ready", NULL };
	struct fixture *f = *state;
	struct spec spec;
	struct err err;

	f->template.readiness = (struct config_probe){ .kind = PROBE_EXEC, .command = argv };
	_close_ int fd = command_probe(&f->template, argv, &err);
	assert_int_equal(spec_read(fd, &spec), 0);
	expect_strings(spec.argv, "test|-e|/ready|");
	expect_strings(spec.envp, "PATH=/bin|LANG=C|");
	assert_int_equal(spec.header->uid, 1000);
	spec_release(&spec);
}

static void test_exec(void **state)
{
	struct fixture *f = *state;
	struct command_request request = { .command = json_pack("[s, s]", "id", "-u") };
	char user[65];
	struct spec spec;
	struct err err;

	/* With the image's user and directory where the workload is the image's. */
	write_image(f, "{\"layers\": [], \"config\": {\"env\": [\"A=1\", \"LANG=x\"], \"entrypoint\": [\"/init\"],"
		       " \"user\": \"daemon\", \"workdir\": \"/app\"}}");
	_close_ int fd = command_exec(&f->config, &f->template, &request, &err);
	assert_int_equal(spec_read(fd, &spec), 0);
	expect_strings(spec.argv, "id|-u|");
	expect_strings(spec.envp, "A=1|LANG=C|PATH=/bin|");
	assert_string_equal(spec.header->user, "daemon");
	assert_string_equal(spec.header->cwd, "/app");
	assert_int_equal(spec.header->flags, 0);
	spec_release(&spec);
	/* The debugging pipe is the workload's alone. */
	f->template.command = template_argv;
	f->template.cdp_pipe = true;
	request.user = "0";
	request.cwd = "/srv";
	_close_ int other = command_exec(&f->config, &f->template, &request, &err);
	assert_int_equal(spec_read(other, &spec), 0);
	assert_string_equal(spec.header->user, "0");
	assert_string_equal(spec.header->cwd, "/srv");
	assert_int_equal(spec.header->flags, 0);
	spec_release(&spec);
	memset(user, 'x', sizeof(user) - 1);
	user[64] = '\0';
	request.user = user;
	assert_int_equal(command_exec(&f->config, &f->template, &request, &err), -ENAMETOOLONG);
	assert_string_equal(err.step, "user");
	json_decref((json_t *)(uintptr_t)request.command);
}

int main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(test_template), TEST(test_request_wins), TEST(test_image), TEST(test_bare_image), TEST(test_bad_images),
		TEST(test_bad_variables), TEST(test_bounds), TEST(test_probe), TEST(test_exec),
	};
	/* clang-format on */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
