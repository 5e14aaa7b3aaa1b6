/* SPDX-License-Identifier: Apache-2.0 */
/* config/: the files of a directory, who may have written them, and what they have to say to each other. */
#include "tests/unit/config_text.h"

#include <fcntl.h>
#include <sys/stat.h>

struct directory {
	char path[64];
	int fd, templates_fd;
};

static void put(int dir_fd, const char *name, const char *text, mode_t mode)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int make_directory(void **state)
{
	struct directory *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	strcpy(d->path, "/tmp/carrel-config-XXXXXX");
	assert_non_null(mkdtemp(d->path));
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(d->fd, "templates.d", 0700), 0);
	d->templates_fd = openat(d->fd, "templates.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put(d->fd, "carrel.json", "{}", 0644);
	put(d->templates_fd, "b.json", HEAD LIMITS "}", 0644);
	put(d->templates_fd, "a.json", HEAD LIMITS "}", 0644);
	*state = d;
	return 0;
}

static int remove_directory(void **state)
{
	static const char *const names[] = { "carrel.json", "a.json", "b.json", "c.json", "Bad.json", ".a.json",
		"a.json.bak" };
	struct directory *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		unlinkat(d->fd, names[i], 0);
		unlinkat(d->templates_fd, names[i], 0);
	}
	for (int i = 0; i < CONFIG_MAX_TEMPLATES; i++) {
		char name[16];
		snprintf(name, sizeof(name), "t%d.json", i);
		unlinkat(d->templates_fd, name, 0);
	}
	close(d->templates_fd);
	unlinkat(d->fd, "templates.d", AT_REMOVEDIR);
	close(d->fd);
	int r = rmdir(d->path);
	free(d);
	return r;
}

static void expect_load(const struct directory *d, int wanted, const char *message)
{
	struct config config = { .max_sessions = 12345 };
	char error[512] = "";
	int r = config_load(d->path, &config, error, sizeof(error));

	assert_string_equal(error, message);
	assert_int_equal(r, wanted);
	if (r == 0)
		config_free(&config);
	else
		assert_int_equal(config.max_sessions, 12345);
}

static void test_load(void **state)
{
	const struct directory *d = *state;
	struct config config;
	char error[256] = "";

	put(d->templates_fd, ".a.json", "x", 0644);
	put(d->templates_fd, "a.json.bak", "x", 0644);
	assert_int_equal(config_load(d->path, &config, error, sizeof(error)), 0);
	assert_int_equal(config.n_templates, 2);
	assert_string_equal(config.templates[0].name, "a");
	assert_ptr_equal(config_template(&config, "b"), &config.templates[1]);
	assert_null(config_template(&config, "c"));
	config_free(&config);
	assert_int_equal(config.n_templates, 0);
}

static void test_load_missing(void **state)
{
	const struct directory *d = *state;

	unlinkat(d->fd, "carrel.json", 0);
	expect_load(d, -ENOENT, "carrel.json: No such file or directory");
	put(d->fd, "carrel.json", "{}", 0644);
	assert_int_equal(renameat(d->fd, "templates.d", d->fd, "x"), 0);
	expect_load(d, -ENOENT, "templates.d: No such file or directory");
	assert_int_equal(renameat(d->fd, "x", d->fd, "templates.d"), 0);
	expect_load(d, 0, "");
}

static void test_load_modes(void **state)
{
	const struct directory *d = *state;

	assert_int_equal(fchmodat(d->fd, "carrel.json", 0664, 0), 0);
	expect_load(d, -EPERM, "carrel.json: can be written by group or others (mode 0664)");
	assert_int_equal(fchmodat(d->fd, "carrel.json", 0644, 0), 0);
	assert_int_equal(fchmodat(d->templates_fd, "a.json", 0602, 0), 0);
	expect_load(d, -EPERM, "templates.d/a.json: can be written by group or others (mode 0602)");
	assert_int_equal(fchmodat(d->templates_fd, "a.json", 0600, 0), 0);
	assert_int_equal(fchmod(d->templates_fd, 0777), 0);
	expect_load(d, -EPERM, "templates.d: can be written by group or others (mode 0777)");
	assert_int_equal(fchmod(d->templates_fd, 0755), 0);
	expect_load(d, 0, "");
}

/* Only root can give files away. */
static void test_load_owner(void **state)
{
	const struct directory *d = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(fchownat(d->fd, "carrel.json", 12345, 0, 0), 0);
	expect_load(d, -EPERM, "carrel.json: belongs to uid 12345, not to root");
}

static void test_load_kinds(void **state)
{
	const struct directory *d = *state;

	assert_int_equal(symlinkat("a.json", d->templates_fd, "c.json"), 0);
	expect_load(d, -ELOOP, "templates.d/c.json: is a symbolic link");
	unlinkat(d->templates_fd, "c.json", 0);
	assert_int_equal(mkfifoat(d->templates_fd, "c.json", 0600), 0);
	expect_load(d, -EINVAL, "templates.d/c.json: is no regular file");
	unlinkat(d->templates_fd, "c.json", 0);
	put(d->templates_fd, "Bad.json", HEAD LIMITS "}", 0644);
	expect_load(d, -EINVAL,
		"templates.d/Bad.json:1: the file's name is no name of a template: a-z, 0-9 and inner hyphens, 1 to "
		"63 of them");
}

static void test_load_size(void **state)
{
	const struct directory *d = *state;
	const size_t most = 256 * 1024;
	_free_ char *text = malloc(most + 2);

	assert_non_null(text);
	memset(text, ' ', most + 1);
	text[0] = '{';
	text[1] = '}';
	text[most] = '\0';
	put(d->fd, "carrel.json", text, 0644);
	expect_load(d, 0, "");
	text[most] = ' ';
	text[most + 1] = '\0';
	put(d->fd, "carrel.json", text, 0644);
	expect_load(d, -EFBIG, "carrel.json: is larger than 256 KiB");
}

static void test_load_many(void **state)
{
	const struct directory *d = *state;
	char name[16];

	for (int i = 0; i < CONFIG_MAX_TEMPLATES - 2; i++) {
		snprintf(name, sizeof(name), "t%d.json", i);
		put(d->templates_fd, name, HEAD LIMITS "}", 0644);
	}
	expect_load(d, 0, "");
	put(d->templates_fd, "c.json", HEAD LIMITS "}", 0644);
	expect_load(d, -E2BIG, "templates.d: has more than 64 templates");
}

/* What spare networks of all templates may come to use has to fit the ranges, too. */
static void test_load_slots(void **state)
{
	const struct directory *d = *state;

	put(d->fd, "carrel.json", "{\"max_sessions\": 500,\n\"ipv4\": \"10.0.0.0/22\",\n\"spare_networks\": 5}",
		0644);
	expect_load(d, 0, "");
	put(d->fd, "carrel.json", "{\"max_sessions\": 500,\n\"ipv4\": \"10.0.0.0/22\",\n\"spare_networks\": 6}",
		0644);
	expect_load(d, -EINVAL, "carrel.json:2: ipv4: a /22 is too small for 512 slots");
}

/* Templates name policies of carrel.json, which is read before them. */
static void test_load_policies(void **state)
{
	const struct directory *d = *state;

	put(d->templates_fd, "c.json",
		HEAD LIMITS ", \"network\": {\"egress\": \"none\", \"egress_allowed\": [\"internet\", \"shop\"]}}",
		0644);
	put(d->fd, "carrel.json", "{\n\"egress_policies\": {\"shops\": []}}", 0644);
	expect_load(d, -EINVAL, "carrel.json:2: egress_policies: has no \"shop\", which template c names");
	put(d->fd, "carrel.json", "{\n\"egress_policies\": {\"shop\": []}}", 0644);
	expect_load(d, 0, "");
}

static void copy_file(int from_dir, int to_dir, const char *name)
{
	static char text[256 * 1024];
	int fd = openat(from_dir, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	put(to_dir, name, text, 0644);
	close(fd);
}

/* The files that are installed load. The source tree is the working directory, or the environment's CARREL_SOURCE. */
static void test_packaged(void **state)
{
	static const char *const names[] = { "minimal.json", "browser.json", "browser-host.json", "dind.json" };
	const struct directory *d = *state;
	const char *source = getenv("CARREL_SOURCE");
	struct config config;
	char path[512], error[512] = "";

	snprintf(path, sizeof(path), "%s/packaging/etc", source ? source : ".");
	int from = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int templates = openat(from, "templates.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	copy_file(from, d->fd, "carrel.json");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		copy_file(templates, d->templates_fd, names[i]);
	close(templates);
	close(from);

	int r = config_load(d->path, &config, error, sizeof(error));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlinkat(d->templates_fd, names[i], 0);
	assert_string_equal(error, "");
	assert_int_equal(r, 0);
	const struct template *browser = config_template(&config, "browser");
	assert_non_null(browser);
	assert_int_equal(browser->capabilities, 0);
	assert_true(browser->no_new_privs && browser->cdp_pipe);
	assert_int_equal(browser->uid, 1000);
	const struct template *host = config_template(&config, "browser-host");
	assert_non_null(host);
	assert_true(host->mounts[0].kind == MOUNT_BIND && host->mounts[0].read_only);
	assert_non_null(config_template(&config, "minimal"));
	const struct template *dind = config_template(&config, "dind");
	assert_non_null(dind);
	assert_true(dind->cgroup && dind->no_new_privs && !dind->mask_proc);
	assert_int_equal(dind->mounts[0].kind, MOUNT_SCRATCH);
	assert_string_equal(dind->readiness.unix_path, "/run/docker.sock");
	config_free(&config);
}

int main(void)
{
#define ON_FILES(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
	const struct CMUnitTest tests[] = {
		ON_FILES(test_load),
		ON_FILES(test_load_missing),
		ON_FILES(test_load_modes),
		ON_FILES(test_load_owner),
		ON_FILES(test_load_kinds),
		ON_FILES(test_load_size),
		ON_FILES(test_load_many),
		ON_FILES(test_load_slots),
		ON_FILES(test_load_policies),
		ON_FILES(test_packaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
