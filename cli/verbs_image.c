/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that work on the image store: list for everybody, build and remove for root. */
#include <fcntl.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "cli/image.h"
#include "cli/table.h"
#include "cli/tree.h"

/* clang-format off */
static const char *const browser[] = { "chromium", "ca-certificates", "fontconfig", "fonts-liberation", NULL };
static const char *const browser_small[] = {
	"chromium-headless-shell", "ca-certificates", "fontconfig", "fonts-liberation", NULL
};

static const char *const dind[] = {
	/* the daemons, and what they start */
	"docker.io", "containerd", "runc", "docker-compose", "iptables", "iproute2", "kmod", "ca-certificates", "xz-utils",
	/* for the learner */
	"bash-completion", "busybox-static", "curl", "git", "less", "make", "nano", "procps", "vim-tiny", NULL
};

const struct recipe recipes[] = {
	{ "browser", build_debian, foresee_debian, browser },
	{ "browser-small", build_debian, foresee_debian, browser_small },
	{ "dind", build_dind, foresee_dind, dind },
	{ "minimal", build_minimal, NULL, NULL },
	{ "host", build_host, NULL, NULL },
	{ 0 },
};
/* clang-format on */

/* Which images live sessions use; asked of control when it is first needed. */
struct usage {
	const char *socket_path;
	bool asked;
	json_t *images; /* an object by name; NULL: not known, so any may be in use */
};

static void usage_free(struct usage *usage)
{
	json_decref(usage->images);
}

/* Adds the image of TEMPLATE, whose sessions live. */
static int add_image(struct usage *usage, struct client *client, const char *template, struct failure *why)
{
	json_t *info = NULL;
	int r = client_call(
		client, "template.get", json_pack("{ss}", "template", template), CLIENT_PROMPT_MS, &info, why);

	if (r == 0)
		json_object_set_new(usage->images, json_string_value(json_object_get(info, "image")), json_true());
	json_decref(info);
	return r;
}

/* The images that the templates of sessions have which have not ended. */
static int add_images(struct usage *usage, struct client *client, struct failure *why)
{
	json_t *sessions = fetch_sessions(client, json_object(), why), *session;
	int r = sessions ? 0 : -EIO;
	size_t i;

	json_array_foreach (sessions, i, session) {
		const char *state = json_string_value(json_object_get(session, "state"));
		const char *template = json_string_value(json_object_get(session, "template"));
		if (r == 0 && state && template && !streq(state, "ended"))
			r = add_image(usage, client, template, why);
	}
	json_decref(sessions);
	return r;
}

static void ask_usage(struct usage *usage)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };

	usage->asked = true;
	usage->images = json_object();
	if (client_open(&client, usage->socket_path, &why) < 0 || add_images(usage, &client, &why) < 0) {
		json_decref(usage->images);
		usage->images = NULL;
	}
}

/* Sessions live on while carrel does not answer: when in doubt, an image is in use. */
static bool may_be_in_use(void *context, const char *name)
{
	struct usage *usage = context;

	if (!usage->asked)
		ask_usage(usage);
	return !usage->images || json_object_get(usage->images, name);
}

/* The state directory of the carrel that serves at the socket, if that is one that was named. The caller's, or NULL. */
static char *ask_state_dir(const struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *info = NULL;

	if (streq(cli->socket_path, DEFAULT_SOCKET))
		return NULL;
	client_ask(cli->socket_path, "system.info", NULL, CLIENT_PROMPT_MS, &info, &why);
	const char *text = text_of(info, "state_directory");
	char *dir = text ? strdup(text) : NULL;
	json_decref(info);
	return dir;
}

/*
 * --state-dir, else what the carrel at a socket of one's own says, else carrel.json, else the default: the caller's;
 * NULL with WHY.
 */
static char *find_state_dir(const struct cli *cli, struct failure *why)
{
	const char *named = option_text(cli, "state-dir"), *config = option_text(cli, "config");
	_free_ char *path = NULL;
	json_error_t error;

	if (named)
		return strdup(named);
	char *asked = config ? NULL : ask_state_dir(cli);
	if (asked)
		return asked;
	if (asprintf(&path, "%s/carrel.json", config ? config : CARREL_CONFIG_DIR) < 0)
		return NULL;
	if (!config && access(path, F_OK) < 0)
		return strdup(DEFAULT_STATE_DIR);
	json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!json) {
		failure_set(why, EXIT_REFUSED, -EINVAL, "%s:%d: %s", path, error.line, error.text);
		return NULL;
	}
	const char *text = json_string_value(json_object_get(json, "state_dir"));
	char *dir = strdup(text ? text : DEFAULT_STATE_DIR);
	json_decref(json);
	return dir;
}

static int open_store(const struct cli *cli, struct store *ret, bool read_only, struct failure *why)
{
	_free_ char *state_dir = find_state_dir(cli, why);

	if (!state_dir)
		return why->error ? -EINVAL : failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	return store_open(ret, state_dir, read_only, why);
}

enum exit_code run_image_list(struct cli *cli)
{
	static const struct column columns[] = { { "IMAGE" }, { "SIZE", .right = true }, { "BUILT" }, { 0 } };
	_store_ struct store store = { .rootfs_fd = -1, .images_fd = -1, .lock_fd = -1 };
	_failure_ struct failure why = { 0 };
	_table_ struct table table;
	char size[FORMAT_SIZE];
	json_t *images, *image;
	size_t i;

	table_init(&table, &cli->out, columns);
	if (open_store(cli, &store, true, &why) < 0)
		return cli_failed(cli, &why);
	images = store_list(&store);
	if (cli->json) {
		print_json(cli, images);
	} else {
		json_array_foreach (images, i, image) {
			json_int_t bytes = json_integer_value(json_object_get(image, "size_bytes"));
			table_add(&table, json_string_value(json_object_get(image, "name")));
			table_add(&table, format_bytes(size, (uint64_t)(bytes < 0 ? 0 : bytes)));
			table_add(&table, json_string_value(json_object_get(image, "built_at")));
		}
		table_print(&table, stdout);
	}
	json_decref(images);
	return EXIT_OK;
}

/* What STATE_DIR/images/NAME.json says; the caller's. */
static json_t *describe_image(const struct recipe *recipe, uint64_t key, uint64_t bytes)
{
	char built_at[FORMAT_SIZE], key_text[FORMAT_SIZE];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(key_text, sizeof(key_text), "%016llx", (unsigned long long)key);
	return json_pack("{ss, si, s{s[], s[], ss, ss}, ss, sI, ss}", "name", recipe->name, "layers", 1, "config",
		"env", "entrypoint", "user", "", "workdir", "", "built_at", format_time(built_at, &now), "size_bytes",
		(json_int_t)bytes, "packages_key", key_text);
}

static bool has_key(const json_t *info, uint64_t key)
{
	const char *text = json_string_value(json_object_get(info, "packages_key"));
	char expected[FORMAT_SIZE];

	snprintf(expected, sizeof(expected), "%016llx", (unsigned long long)key);
	return text && streq(text, expected);
}

/* 1 when the image is known to be current without building it, 0 when it is not, or a negative errno with WHY. */
static int is_current(const struct store *store, struct build *build, const json_t *info, struct failure *why)
{
	char path[STORE_NAME_SIZE + 4];
	uint64_t key = 0;

	if (!info || !build->recipe->foresee)
		return 0;
	snprintf(path, sizeof(path), "%s/0", build->recipe->name);
	_close_ int fd = openat(store->rootfs_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	progress_phase(build->progress, "comparing the versions of packages");
	build->root_fd = fd;
	int r = build->recipe->foresee(build, &key, why);
	build->root_fd = -1;
	progress_end(build->progress);
	return r < 0 ? r : r == 0 && has_key(info, key);
}

/* Builds into the tree NEW_NAME and, unless it is what is there already, puts it in place. 1: it was there. */
static int build_into(struct store *store, struct build *build, const char *new_name, const json_t *present,
	char ret_old[2 * STORE_NAME_SIZE], struct failure *why)
{
	uint64_t bytes = 0;
	int r = build->recipe->build(build, why);

	if (r < 0)
		return r;
	if (has_key(present, build->key))
		return 1;
	progress_phase(build->progress, "writing to disk");
	r = tree_bytes(store->rootfs_fd, new_name, &bytes);
	if (r < 0)
		return build_failed(why, r, "measure", new_name);
	json_t *info = describe_image(build->recipe, build->key, bytes);
	r = info ? store_publish(store, build->recipe->name, new_name, info, ret_old, why)
		 : build_failed(why, -ENOMEM, "describe", build->recipe->name);
	json_decref(info);
	return r;
}

/* 0 when a new image is in place, 1 when the old one was current, or a negative errno with WHY. */
static int build_image(struct store *store, struct build *build, bool force, struct usage *usage, struct failure *why)
{
	const char *name = build->recipe->name;
	char new_name[2 * STORE_NAME_SIZE], old_name[2 * STORE_NAME_SIZE] = "";
	_free_ char *path = NULL;
	json_t *present = force ? NULL : store_read(store, name);
	int r = is_current(store, build, present, why);

	_close_ int root_fd = -1;
	if (r == 0)
		r = store_new(store, name, new_name, &root_fd, why);
	else
		new_name[0] = '\0';
	if (*new_name && r == 0 && asprintf(&path, "%s/%s/0", store->rootfs_path, new_name) < 0)
		r = build_failed(why, -ENOMEM, "build", name);
	if (r == 0) {
		build->root_fd = root_fd;
		build->root_path = path;
		r = build_into(store, build, new_name, present, old_name, why);
	}
	json_decref(present);
	progress_end(build->progress);
	/* Whatever is not in place now goes; a former tree that a session still uses is swept by a later build. */
	if (*new_name && r != 0)
		tree_remove(store->rootfs_fd, new_name);
	if (*old_name && !may_be_in_use(usage, name))
		tree_remove(store->rootfs_fd, old_name);
	return r;
}

static const struct recipe *find_recipe(const char *name)
{
	for (const struct recipe *recipe = recipes; recipe->name; recipe++)
		if (streq(recipe->name, name))
			return recipe;
	return NULL;
}

static void print_image(const struct cli *cli, const json_t *info, bool current, int64_t ms)
{
	char size[FORMAT_SIZE], time[FORMAT_SIZE];
	const char *name = json_string_value(json_object_get(info, "name"));

	format_bytes(size, (uint64_t)json_integer_value(json_object_get(info, "size_bytes")));
	if (cli->json)
		print_json(cli, info);
	else if (current)
		printf("image %s is current (%s, built %s)\n", name, size,
			json_string_value(json_object_get(info, "built_at")));
	else
		printf("image %s is built: %s in %s\n", name, size, format_ms(time, (double)ms));
}

enum exit_code run_image_build(struct cli *cli)
{
	_store_ struct store store = { .rootfs_fd = -1, .images_fd = -1, .lock_fd = -1 };
	_cleanup_(usage_free) struct usage usage = { .socket_path = cli->socket_path };
	_failure_ struct failure why = { 0 };
	struct progress progress = { .term = &cli->err, .out = stderr };
	struct build build = { .recipe = find_recipe(cli->words[0]), .progress = &progress, .root_fd = -1 };
	const char *libexec_dir = option_text(cli, "libexec-dir"), *config_dir = option_text(cli, "config");
	int64_t started = monotonic_ms();
	int r;

	build.packages = json_object_get(cli->options, "package");
	build.libexec_dir = libexec_dir ? libexec_dir : CARREL_LIBEXEC_DIR;
	if (!build.recipe)
		return cli_fail(cli, EXIT_USAGE, 0, "there is no recipe for \"%s\"; see `carrel image build --help`",
			cli->words[0]);
	if (build.packages && !build.recipe->packages)
		return cli_fail(cli, EXIT_USAGE, 0, "image %s is not made of Debian packages", build.recipe->name);
	r = open_store(cli, &store, false, &why);
	if (r == 0)
		r = store_sweep(&store, may_be_in_use, &usage, &why);
	if (r == 0)
		r = build_image(&store, &build, option_set(cli, "force"), &usage, &why);
	if (r >= 0) {
		int s = scratch_prepare(
			&store, config_dir ? config_dir : CARREL_CONFIG_DIR, build.recipe->name, &progress, &why);
		r = s < 0 ? s : r;
	}
	if (r < 0)
		return cli_failed(cli, &why);
	json_t *info = store_read(&store, build.recipe->name);
	print_image(cli, info, r == 1, monotonic_ms() - started);
	json_decref(info);
	return EXIT_OK;
}

enum exit_code run_image_remove(struct cli *cli)
{
	_store_ struct store store = { .rootfs_fd = -1, .images_fd = -1, .lock_fd = -1 };
	_cleanup_(usage_free) struct usage usage = { .socket_path = cli->socket_path };
	_failure_ struct failure why = { 0 };
	char old_name[2 * STORE_NAME_SIZE];
	const char *name = cli->words[0];
	int r = open_store(cli, &store, false, &why);

	if (r < 0)
		return cli_failed(cli, &why);
	json_t *info = strchr(name, '/') || strlen(name) >= STORE_NAME_SIZE ? NULL : store_read(&store, name);
	json_decref(info);
	if (!info)
		return cli_fail(cli, EXIT_REFUSED, -ENOENT, "there is no image \"%s\"", name);
	r = store_sweep(&store, may_be_in_use, &usage, &why);
	bool in_use = may_be_in_use(&usage, name);
	if (r == 0 && in_use && usage.images)
		return cli_fail(cli, EXIT_REFUSED, -EBUSY, "sessions use image \"%s\"", name);
	if (r == 0)
		r = store_withdraw(&store, name, old_name, &why);
	/* Where nobody can say who uses it, the tree stays until a later build finds out. */
	if (r == 0 && !in_use && (r = tree_remove(store.rootfs_fd, old_name)) < 0)
		build_failed(&why, r, "remove", old_name);
	return r < 0 ? cli_failed(cli, &why) : EXIT_OK;
}
