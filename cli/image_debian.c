/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images made of Debian packages by mmdebstrap, from the same sources as the host's own packages: apt is asked for
 * them, so that mirrors and keys need no configuration of carrel's.
 */
#include <ctype.h>
#include <fcntl.h>

#include "cli/image.h"
#include "cli/program.h"
#include "cli/tree.h"

enum { MAX_SOURCES = 16, MAX_PACKAGES = 64, MAX_ARGUMENTS = 64, KEYED_FORMAT = 1 };

#define KEYRING "/usr/share/keyrings/debian-archive-keyring.gpg"

/* clang-format off */
/* dpkg leaves these out; they are for people at a desk, not for sessions. */
static const char *const dpkg_options[] = {
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/doc-base/*",
	"--dpkgopt=path-exclude=/usr/share/info/*",
	"--dpkgopt=path-exclude=/usr/share/lintian/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
};

/* Emptied when the packages are in: device nodes, caches, and where the host gets its packages from. */
static const char *const emptied[] = {
	"dev", "etc/apt", "run", "tmp", "var/cache/apt", "var/cache/debconf", "var/cache/ldconfig", "var/lib/apt", "var/log",
};

/* Written for each session; the files must be there, and must not be the host's. */
static const char *const blank_files[] = { "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/machine-id" };
/* clang-format on */

/* The release whose packages the host uses, and apt's lines for it. */
struct sources {
	char codename[64];
	char *lines[MAX_SOURCES];
	size_t n;
	bool has_keyring;
};

static void sources_free(struct sources *sources)
{
	for (size_t i = 0; i < sources->n; i++)
		free(sources->lines[i]);
}

/* VERSION_CODENAME of os-release(5), which is shell without expansions. */
static int read_codename(char *buf, size_t size)
{
	static const char name[] = "VERSION_CODENAME=";
	_free_ char *text = NULL;
	char *rest, *line;

	_close_ int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = host < 0 ? -errno : read_file(host, "usr/lib/os-release", &text);
	if (r < 0)
		return r;
	for (rest = text; (line = strsep(&rest, "\n"));) {
		if (strncmp(line, name, sizeof(name) - 1) != 0)
			continue;
		line += sizeof(name) - 1;
		line += strspn(line, "\"'");
		line[strcspn(line, "\"'")] = '\0';
		return copy_string(buf, size, line);
	}
	return -ENOENT;
}

/* Whether CODENAME is the release's own archive, its updates or its security archive. */
static bool of_release(const struct sources *sources, const char *codename)
{
	size_t n = strlen(sources->codename);

	if (strncmp(codename, sources->codename, n) != 0)
		return false;
	codename += n;
	return !*codename || streq(codename, "-updates") || streq(codename, "-security");
}

/* A line "CODENAME URI SUITE COMPONENT" of apt-get indextargets. */
static void take_source(void *context, char *text)
{
	struct sources *sources = context;
	char *codename = strsep(&text, " "), *uri = strsep(&text, " "), *suite = strsep(&text, " "), *line;

	if (!suite || !text || !of_release(sources, codename) || sources->n == MAX_SOURCES)
		return;
	if (asprintf(&line, "deb %s%s %s %s", sources->has_keyring ? "[signed-by=" KEYRING "] " : "", uri, suite,
		    text) < 0)
		return;
	for (size_t i = 0; i < sources->n; i++)
		if (streq(sources->lines[i], line)) {
			free(line);
			return;
		}
	sources->lines[sources->n++] = line;
}

static int find_sources(struct sources *sources, struct failure *why)
{
	static const char *const argv[] = { "apt-get", "indextargets", "--format",
		"$(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages", "Origin: Debian", NULL };
	int r = read_codename(sources->codename, sizeof(sources->codename));

	if (r < 0)
		return build_failed(why, r, "find this host's release in", "os-release");
	sources->has_keyring = access(KEYRING, R_OK) == 0;
	r = program_run(argv, take_source, sources, why);
	if (r < 0)
		return r;
	if (sources->n == 0) {
		build_failed(why, -ENOENT, "find Debian's packages for", sources->codename);
		failure_add(why, "hint", "this host's apt must know Debian's archive: run `apt-get update`");
		return -ENOENT;
	}
	return 0;
}

/* The value of "NAME: value" in LINE, or NULL. */
static char *field(char *line, const char *name)
{
	size_t n = strlen(name);

	return strncmp(line, name, n) == 0 && line[n] == ':' && line[n + 1] == ' ' ? line + n + 2 : NULL;
}

/* The packages installed in a tree and their versions: an object, the caller's; NULL when there are none to be read. */
static json_t *installed_packages(int root_fd)
{
	_free_ char *text = NULL;
	char *rest, *line, *name = NULL, *value;

	if (read_file(root_fd, "var/lib/dpkg/status", &text) < 0)
		return NULL;
	json_t *packages = json_object();
	for (rest = text; (line = strsep(&rest, "\n"));) {
		value = field(line, "Package");
		if (value)
			name = value;
		value = field(line, "Version");
		if (value && name)
			json_object_set_new(packages, name, json_string(value));
	}
	return packages;
}

struct candidates {
	json_t *versions;
	char name[256]; /* of the package whose lines are being read */
};

/* "NAME:" and then "  Candidate: VERSION", as apt-cache policy prints them. */
static void take_candidate(void *context, char *text)
{
	struct candidates *candidates = context;
	size_t n = strlen(text);
	char *version = field(text + strspn(text, " "), "Candidate");

	if (version && !streq(version, "(none)"))
		json_object_set_new(candidates->versions, candidates->name, json_string(version));
	else if (n > 1 && text[0] != ' ' && text[n - 1] == ':')
		snprintf(candidates->name, sizeof(candidates->name), "%.*s", (int)n - 1, text);
}

/* The versions that would be installed now of PACKAGES: an object, the caller's; NULL with WHY. */
static json_t *candidate_packages(const json_t *packages, struct failure *why)
{
	size_t n = 0, size = json_object_size(packages);
	struct candidates candidates = { .versions = json_object() };
	_free_ const char **argv = calloc(size + 3, sizeof(*argv));
	const char *name;
	json_t *version;

	if (!argv || !candidates.versions) {
		build_failed(why, -ENOMEM, "ask for", "versions");
	} else {
		argv[n++] = "apt-cache";
		argv[n++] = "policy";
		json_object_foreach ((json_t *)packages, name, version)
			argv[n++] = name;
		if (program_run(argv, take_candidate, &candidates, why) == 0)
			return candidates.versions;
	}
	json_decref(candidates.versions);
	return NULL;
}

/* All that decides what a build gives: what was asked for, and the versions of everything that came with it. */
static int make_key(const struct build *build, json_t *versions, uint64_t *ret_key)
{
	json_t *inputs =
		json_pack("{si, so, sO?}", "format", KEYED_FORMAT, "asked", json_array(), "more", build->packages);
	json_t *asked = json_object_get(inputs, "asked");

	for (const char *const *package = build->recipe->packages; *package; package++)
		json_array_append_new(asked, json_string(*package));
	json_object_set(inputs, "versions", versions);
	_free_ char *text = json_dumps(inputs, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(inputs);
	if (!text)
		return -ENOMEM;
	*ret_key = hash_bytes(HASH_START, text, strlen(text));
	return 0;
}

int foresee_debian(struct build *build, uint64_t *ret_key, struct failure *why)
{
	json_t *installed = installed_packages(build->root_fd), *candidates;
	int r = 1;

	if (!installed)
		return 1;
	candidates = candidate_packages(installed, why);
	if (!candidates)
		r = -EIO;
	else if (json_object_size(candidates) > 0)
		r = make_key(build, candidates, ret_key);
	json_decref(installed);
	json_decref(candidates);
	return r;
}

/* Debian policy 5.6.1; nothing that mmdebstrap would read as a pattern or an option. */
static bool package_name_is_valid(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789+-.");

	return n >= 2 && n < 128 && !name[n] && isalnum((unsigned char)name[0]);
}

/* The names of all packages that are asked for, as members of an object, the caller's; NULL with WHY. */
static json_t *asked_packages(const struct build *build, struct failure *why)
{
	json_t *asked = json_object(), *package;
	size_t i;

	for (const char *const *name = build->recipe->packages; *name; name++)
		json_object_set_new(asked, *name, json_null());
	json_array_foreach (build->packages, i, package) {
		const char *name = json_string_value(package);
		if (package_name_is_valid(name) && i < MAX_PACKAGES) {
			json_object_set_new(asked, name, json_null());
			continue;
		}
		failure_set(
			why, EXIT_USAGE, -EINVAL, "--package: \"%s\" is no package's name, or one too many", name);
		json_decref(asked);
		return NULL;
	}
	return asked;
}

/* A name that apt does not know is better learned of at once than when half of the image is there. */
static int check_packages(const json_t *asked, struct failure *why)
{
	json_t *candidates = candidate_packages(asked, why), *unused;
	const char *name;
	int r = candidates ? 0 : -EIO;

	json_object_foreach ((json_t *)asked, name, unused) {
		if (r < 0 || json_object_get(candidates, name))
			continue;
		r = build_failed(why, -ENOENT, "find package", name);
		failure_add(why, "hint", "`apt-get update` renews what apt knows; `apt-cache search` finds packages");
	}
	json_decref(candidates);
	return r;
}

/* "--include=A,B,C", the caller's; NULL when memory ran out. */
static char *include_option(const json_t *asked)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	const char *name, *separator = "--include=";
	json_t *unused;

	if (!out)
		return NULL;
	json_object_foreach ((json_t *)asked, name, unused) {
		fprintf(out, "%s%s", separator, name);
		separator = ",";
	}
	fclose(out);
	return text;
}

/* mmdebstrap says "I: what comes now..." before each phase. */
static void take_phase(void *context, char *text)
{
	struct build *build = context;

	if (strncmp(text, "I: ", 3) != 0)
		return;
	text += 3;
	size_t n = strlen(text);
	if (n < 4 || !streq(text + n - 3, "...") || strchr(text, '(')) /* "main() received signal ..." */
		return;
	progress_phase(build->progress, "%.*s", (int)n - 3, text);
}

static int run_mmdebstrap(
	struct build *build, const struct sources *sources, const json_t *asked, struct failure *why)
{
	_free_ char *include = include_option(asked);
	const char *argv[MAX_ARGUMENTS];
	size_t n = 0;

	if (!include)
		return build_failed(why, -ENOMEM, "list", "packages");
	argv[n++] = "mmdebstrap";
	argv[n++] = "--mode=root";
	argv[n++] = "--variant=essential";
	argv[n++] = "--format=directory";
	argv[n++] = include;
	for (size_t i = 0; i < ARRAY_SIZE(dpkg_options); i++)
		argv[n++] = dpkg_options[i];
	argv[n++] = sources->codename;
	argv[n++] = build->root_path;
	for (size_t i = 0; i < sources->n; i++)
		argv[n++] = sources->lines[i];
	argv[n] = NULL;
	_Static_assert(8 + ARRAY_SIZE(dpkg_options) + MAX_SOURCES < MAX_ARGUMENTS, "room for all arguments");
	return program_run(argv, take_phase, build, why);
}

/* Adds TEXT at the end of a file of the tree that is already there. */
static int append_file(int root_fd, const char *path, mode_t mode, const char *text)
{
	_free_ char *before = NULL, *after = NULL;
	int r = read_file(root_fd, path, &before);

	if (r < 0)
		return r;
	if (asprintf(&after, "%s%s", before, text) < 0) {
		after = NULL;
		return -ENOMEM;
	}
	return write_file(root_fd, path, mode, after);
}

/* No password ("*"), in passwd itself: not every image has a shadow file. */
static int add_user(const struct build *build)
{
	int fd = build->root_fd;
	int r = append_file(fd, "etc/passwd", 0644, IMAGE_USER ":*:1000:1000::/home/" IMAGE_USER ":/bin/bash\n");

	if (r == 0)
		r = append_file(fd, "etc/group", 0644, IMAGE_USER ":x:1000:\n");
	return r == 0 ? make_dir(fd, "home/" IMAGE_USER, 0700, IMAGE_UID) : r;
}

/* What is left to do when the packages are in. */
static int finish(const struct build *build, struct failure *why)
{
	int r;

	progress_phase(build->progress, "removing what sessions do not need");
	for (size_t i = 0; i < ARRAY_SIZE(emptied); i++) {
		r = tree_empty(build->root_fd, emptied[i]);
		if (r < 0)
			return build_failed(why, r, "empty", emptied[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(blank_files); i++) {
		r = write_file(build->root_fd, blank_files[i], 0644, "");
		if (r < 0)
			return build_failed(why, r, "write", blank_files[i]);
	}
	r = add_user(build);
	return r < 0 ? build_failed(why, r, "add user", IMAGE_USER) : 0;
}

int build_debian(struct build *build, struct failure *why)
{
	_cleanup_(sources_free) struct sources sources = { 0 };
	json_t *installed, *asked = asked_packages(build, why);
	int r = asked ? 0 : -EINVAL;

	progress_phase(build->progress, "asking apt for packages and where they come from");
	if (r == 0)
		r = find_sources(&sources, why);
	if (r == 0)
		r = check_packages(asked, why);
	if (r == 0)
		r = run_mmdebstrap(build, &sources, asked, why);
	if (r == 0)
		r = finish(build, why);
	json_decref(asked);
	if (r < 0)
		return r;
	installed = installed_packages(build->root_fd);
	if (!installed)
		return build_failed(why, -ENOENT, "read", "the list of installed packages");
	r = make_key(build, installed, &build->key);
	json_decref(installed);
	return r < 0 ? build_failed(why, r, "compare", "versions") : 0;
}
