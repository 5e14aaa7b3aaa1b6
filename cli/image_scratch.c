/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Empty file systems for sessions' scratch and for volumes of fixed size: STATE_DIR/rootfs/.scratch/BYTES and
 * .scratch/volume-BYTES, an ext4 of that size with nothing in it, sparse. The supervisor, which starts no program,
 * copies them. Made here, by mkfs, once for each size that a template asks for.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "cli/image.h"
#include "cli/program.h"
#include "cli/tree.h"

enum { SIZE_NAME_SIZE = 32 };

static void ignore_line(void *context _unused_, char *text _unused_)
{
}

/*
 * Blocks are those of the loop device (rootfs/scratch.c). A journal only where what is in it outlives the session. Inode
 * tables and journal are left as holes, which read as the zeros that they would be filled with. Nothing is reserved for
 * root, who is the session's here.
 */
static int run_mkfs(const char *path, bool journal, struct failure *why)
{
	const char *const argv[] = { "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-O",
		journal ? "has_journal,^resize_inode" : "^has_journal,^resize_inode", "-E",
		"lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0", path, NULL };

	return program_run(argv, ignore_line, NULL, why);
}

/* Makes DIR_FD/KINDBYTES, which appears only when it is whole. */
static int make_one(const struct store *store, int dir_fd, const char *kind, uint64_t bytes,
	struct progress *progress, struct failure *why)
{
	char name[SIZE_NAME_SIZE];
	char new_name[SIZE_NAME_SIZE + 8];
	_free_ char *path = NULL;

	snprintf(name, sizeof(name), "%s%llu", kind, (unsigned long long)bytes);
	if (faccessat(dir_fd, name, F_OK, 0) == 0)
		return 0;
	progress_phase(progress, "making an empty file system");
	snprintf(new_name, sizeof(new_name), ".new-%s", name);
	if (asprintf(&path, "%s/.scratch/%s", store->rootfs_path, new_name) < 0) {
		path = NULL;
		return build_failed(why, -ENOMEM, "make", name);
	}
	_close_ int fd = openat(dir_fd, new_name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return build_failed(why, -errno, "make", path);
	int r = run_mkfs(path, kind[0], why);
	if (r < 0)
		return r;
	if (fsync(fd) < 0 || renameat(dir_fd, new_name, dir_fd, name) < 0 || fsync(dir_fd) < 0)
		return build_failed(why, -errno, "publish", path);
	return 0;
}

/* Makes what the mounts and volumes of TEMPLATE ask for, if it is one of IMAGE's. What else it says is for carreld to judge. */
static int make_for(const struct store *store, int dir_fd, const json_t *template, const char *image,
	struct progress *progress, struct failure *why)
{
	const char *used = json_string_value(json_object_get(template, "image"));
	json_t *mount, *volume;
	int r = 0;
	size_t i;

	if (!used || !streq(used, image))
		return 0;
	json_array_foreach (json_object_get(template, "mounts"), i, mount) {
		const char *type = json_string_value(json_object_get(mount, "type"));
		json_int_t bytes = json_integer_value(json_object_get(mount, "size_bytes"));
		if (r == 0 && type && streq(type, "scratch") && bytes > 0)
			r = make_one(store, dir_fd, "", (uint64_t)bytes, progress, why);
	}
	json_array_foreach (json_object_get(template, "volumes"), i, volume) {
		json_int_t bytes = json_integer_value(json_object_get(volume, "size_bytes"));
		if (r == 0 && bytes > 0)
			r = make_one(store, dir_fd, "volume-", (uint64_t)bytes, progress, why);
	}
	return r;
}

static int is_template(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);
	return n > 5 && entry->d_name[0] != '.' && streq(entry->d_name + n - 5, ".json");
}

int scratch_prepare(const struct store *store, const char *config_dir, const char *image, struct progress *progress,
	struct failure *why)
{
	_free_ char *templates = NULL;
	struct dirent **entries;

	if (asprintf(&templates, "%s/templates.d", config_dir) < 0) {
		templates = NULL;
		return build_failed(why, -ENOMEM, "read", "templates.d");
	}
	int n = scandir(templates, &entries, is_template, alphasort), r = 0;
	if (n < 0)
		return errno == ENOENT ? 0 : build_failed(why, -errno, "read", templates);
	_close_ int dir_fd = -1;
	r = make_dir(store->rootfs_fd, ".scratch", 0700, 0);
	if (r == 0)
		r = dir_fd = openat(store->rootfs_fd, ".scratch", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r < 0)
		build_failed(why, r, "make", ".scratch");
	for (int i = 0; i < n; i++) {
		_free_ char *path = NULL;
		json_t *template = NULL;
		if (r >= 0 && asprintf(&path, "%s/%s", templates, entries[i]->d_name) >= 0)
			template = json_load_file(path, 0, NULL);
		if (r >= 0)
			r = make_for(store, dir_fd, template, image, progress, why);
		json_decref(template);
		free(entries[i]);
	}
	free(entries);
	progress_end(progress);
	return r < 0 ? r : 0;
}
