/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cli/tree.h"

static int store_failed(struct failure *why, int num, const char *what, const char *object)
{
	failure_set(why, EXIT_REFUSED, num, "image store: cannot %s %s", what, object);
	failure_add(why, "step", "store");
	if (num == -EACCES || num == -EPERM)
		failure_add(why, "hint", "the image store belongs to root: run this as root");
	return num;
}

/* Opens DIR_FD/NAME, where MAKE says so made with exactly MODE. One that is there is taken as it is. */
static int open_dir_at(int dir_fd, const char *name, bool make, mode_t mode)
{
	bool made = make && mkdirat(dir_fd, name, mode) == 0;

	if (make && !made && errno != EEXIST)
		return -errno;
	int follow = dir_fd == AT_FDCWD ? 0 : O_NOFOLLOW; /* the operator may link the state directory, no more */
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
	if (fd < 0)
		return -errno;
	if (made && fchmod(fd, mode) < 0) {
		int r = -errno;
		close_fd(fd);
		return r;
	}
	return fd;
}

static int lock_store(struct store *store, struct failure *why)
{
	_close_ int fd = openat(store->rootfs_fd, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return store_failed(why, -errno, "open", ".lock");
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = store_failed(why, -errno, "lock", store->rootfs_path);
		if (r == -EWOULDBLOCK)
			failure_add(
				why, "hint", "another `carrel image` command is at work; try again when it is done");
		return r;
	}
	store->lock_fd = steal_fd(&fd);
	return 0;
}

static int open_rootfs(struct store *store, int state_fd, const char *state_dir, struct failure *why)
{
	struct stat st;

	store->rootfs_fd = open_dir_at(state_fd, "rootfs", true, 0700);
	if (store->rootfs_fd < 0)
		return store_failed(why, store->rootfs_fd, "open rootfs in", state_dir);
	if (asprintf(&store->rootfs_path, "%s/rootfs", state_dir) < 0) {
		store->rootfs_path = NULL;
		return store_failed(why, -ENOMEM, "open", state_dir);
	}
	if (fstat(store->rootfs_fd, &st) < 0)
		return store_failed(why, -errno, "look at", store->rootfs_path);
	/* Setuid files of a session, owned by real ids, must be out of reach of the host's users. */
	if (st.st_uid != 0 || (st.st_mode & 077)) {
		store_failed(why, -EPERM, "use", store->rootfs_path);
		failure_add(why, "hint",
			"it must be root's and mode 0700: it holds setuid files that are not the host's");
		return -EPERM;
	}
	return lock_store(store, why);
}

int store_open(struct store *ret, const char *state_dir, bool read_only, struct failure *why)
{
	_store_ struct store store = { .rootfs_fd = -1, .images_fd = -1, .lock_fd = -1 };
	int r = 0;

	if (!read_only && geteuid() != 0)
		return store_failed(why, -EPERM, "change", state_dir);
	_close_ int state_fd = open_dir_at(AT_FDCWD, state_dir, !read_only, 0755);
	if (state_fd < 0)
		return store_failed(why, state_fd, "open", state_dir);
	store.images_fd = open_dir_at(state_fd, "images", !read_only, 0755);
	if (store.images_fd < 0)
		return store_failed(why, store.images_fd, "open images in", state_dir);
	if (!read_only)
		r = open_rootfs(&store, state_fd, state_dir, why);
	if (r < 0)
		return r;
	*ret = store;
	store = (struct store){ .rootfs_fd = -1, .images_fd = -1, .lock_fd = -1 };
	return 0;
}

void store_close(struct store *store)
{
	free(store->rootfs_path);
	store->rootfs_path = NULL;
	close_fdp(&store->rootfs_fd);
	close_fdp(&store->images_fd);
	close_fdp(&store->lock_fd);
}

/* Calls FN for every name in FD, in order, until it returns a negative errno. */
static int for_names(int fd, int (*fn)(void *context, const char *name), void *context)
{
	struct dirent **entries;
	int n = scandirat(fd, ".", &entries, NULL, alphasort), r = n < 0 ? -errno : 0;

	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = fn(context, entries[i]->d_name);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return r;
}

struct sweep {
	struct store *store;
	in_use_fn *in_use;
	void *context;
};

/* ".old-NAME-RANDOM" into NAME; false for other names. */
static bool old_image(const char *entry, char name[STORE_NAME_SIZE])
{
	static const char prefix[] = ".old-";
	const char *start = entry + sizeof(prefix) - 1, *end = strrchr(entry, '-');

	if (strncmp(entry, prefix, sizeof(prefix) - 1) != 0 || end <= start || end - start >= STORE_NAME_SIZE)
		return false;
	memcpy(name, start, (size_t)(end - start));
	name[end - start] = '\0';
	return true;
}

static int sweep_one(void *context, const char *entry)
{
	const struct sweep *sweep = context;
	char name[STORE_NAME_SIZE];
	bool left_over = strncmp(entry, ".new-", 5) == 0;

	if (!left_over && !(old_image(entry, name) && !sweep->in_use(sweep->context, name)))
		return 0;
	return tree_remove(sweep->store->rootfs_fd, entry);
}

int store_sweep(struct store *store, in_use_fn *in_use, void *context, struct failure *why)
{
	struct sweep sweep = { .store = store, .in_use = in_use, .context = context };
	int r = for_names(store->rootfs_fd, sweep_one, &sweep);

	return r < 0 ? store_failed(why, r, "clean up", store->rootfs_path) : 0;
}

json_t *store_read(const struct store *store, const char *name)
{
	char file[STORE_NAME_SIZE + 8];
	_free_ char *text = NULL;

	snprintf(file, sizeof(file), "%s.json", name);
	return read_file(store->images_fd, file, &text) < 0 ? NULL : json_loads(text, JSON_REJECT_DUPLICATES, NULL);
}

struct listing {
	const struct store *store;
	json_t *images;
};

static int list_one(void *context, const char *entry)
{
	const struct listing *listing = context;
	const char *dot = strrchr(entry, '.');
	char name[STORE_NAME_SIZE];

	if (entry[0] == '.' || !dot || !streq(dot, ".json") || dot - entry >= STORE_NAME_SIZE)
		return 0;
	memcpy(name, entry, (size_t)(dot - entry));
	name[dot - entry] = '\0';
	json_t *info = store_read(listing->store, name);
	if (info)
		json_array_append_new(listing->images, info);
	return 0;
}

json_t *store_list(const struct store *store)
{
	struct listing listing = { .store = store, .images = json_array() };

	for_names(store->images_fd, list_one, &listing);
	return listing.images;
}

/* ".new-NAME-RANDOM" */
static int make_name(char buf[2 * STORE_NAME_SIZE], const char *kind, const char *name)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(buf, 2 * STORE_NAME_SIZE, ".%s-%s-%016llx", kind, name, (unsigned long long)random);
	return 0;
}

int store_new(struct store *store, const char *name, char ret_name[2 * STORE_NAME_SIZE], int *ret_root_fd,
	struct failure *why)
{
	char path[2 * STORE_NAME_SIZE + 4];
	int r = make_name(ret_name, "new", name);

	if (r == 0)
		r = make_dir(store->rootfs_fd, ret_name, 0700, 0);
	snprintf(path, sizeof(path), "%s/0", ret_name);
	if (r == 0)
		r = make_dir(store->rootfs_fd, path, 0755, 0);
	if (r == 0)
		*ret_root_fd = r = open_dir_at(store->rootfs_fd, path, false, 0);
	return r < 0 ? store_failed(why, r, "make", path) : 0;
}

/* Everything of the tree is on disk before its name is, and the name before what says that it is there. */
static int sync_tree(int rootfs_fd, const char *name)
{
	_close_ int fd = open_dir_at(rootfs_fd, name, false, 0);
	return fd < 0 ? fd : syncfs(fd) < 0 ? -errno : 0;
}

static int write_info(const struct store *store, const char *name, const json_t *info)
{
	char file[STORE_NAME_SIZE + 8], new_file[STORE_NAME_SIZE + 16];
	_free_ char *text = json_dumps(info, JSON_INDENT(2));

	if (!text)
		return -ENOMEM;
	snprintf(file, sizeof(file), "%s.json", name);
	snprintf(new_file, sizeof(new_file), ".new-%s", file);
	int r = write_file(store->images_fd, new_file, 0644, text);
	if (r == 0 && renameat(store->images_fd, new_file, store->images_fd, file) < 0)
		r = -errno;
	return r < 0 ? r : fsync(store->images_fd) < 0 ? -errno : 0;
}

int store_publish(struct store *store, const char *name, const char *new_name, const json_t *info,
	char ret_old[2 * STORE_NAME_SIZE], struct failure *why)
{
	int fd = store->rootfs_fd, r = sync_tree(fd, new_name);

	ret_old[0] = '\0';
	if (r < 0)
		return store_failed(why, r, "write out", new_name);
	if (renameat2(fd, new_name, fd, name, RENAME_NOREPLACE) < 0 && errno != EEXIST)
		return store_failed(why, -errno, "rename", new_name);
	if (faccessat(fd, new_name, F_OK, 0) == 0) {
		/* There is one: they change places, so that at no moment there is none. */
		r = make_name(ret_old, "old", name);
		if (r == 0 && renameat2(fd, new_name, fd, name, RENAME_EXCHANGE) < 0)
			r = -errno;
		if (r == 0 && renameat(fd, new_name, fd, ret_old) < 0)
			r = -errno;
	}
	if (r == 0)
		r = fsync(fd) < 0 ? -errno : write_info(store, name, info);
	return r < 0 ? store_failed(why, r, "publish", name) : 0;
}

int store_withdraw(struct store *store, const char *name, char ret_old[2 * STORE_NAME_SIZE], struct failure *why)
{
	char file[STORE_NAME_SIZE + 8];
	int fd = store->rootfs_fd, r = make_name(ret_old, "old", name);

	snprintf(file, sizeof(file), "%s.json", name);
	if (r == 0 && unlinkat(store->images_fd, file, 0) < 0)
		r = -errno;
	if (r == 0 && renameat(fd, name, fd, ret_old) < 0 && errno != ENOENT)
		r = -errno;
	return r < 0 ? store_failed(why, r, "remove", name) : 0;
}
