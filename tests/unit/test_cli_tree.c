/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cli/tree.h"
#include "wire/def.h"

struct place {
	char path[64];
	int fd;
};

static int set_up(void **state)
{
	static struct place place;

	snprintf(place.path, sizeof(place.path), "/tmp/carrel-tree-XXXXXX");
	if (!mkdtemp(place.path))
		return -1;
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &place;
	return place.fd < 0 ? -1 : 0;
}

static int remove_entry(const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *ftw _unused_)
{
	return remove(path);
}

static int tear_down(void **state)
{
	struct place *place = *state;

	close_fdp(&place->fd);
	return nftw(place->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_file(int fd, const char *path, mode_t mode, const char *text)
{
	assert_int_equal(write_file(fd, path, mode, text), 0);
}

/* make_dir() gives directories to an owner, for which privilege is needed. */
static void make_plain_dir(int fd, const char *path, mode_t mode)
{
	assert_int_equal(mkdirat(fd, path, 0700), 0);
	assert_int_equal(fchmodat(fd, path, mode, 0), 0);
}

static bool exists(int fd, const char *path)
{
	return faccessat(fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_remove_follows_no_link(void **state)
{
	int fd = ((struct place *)*state)->fd;

	make_plain_dir(fd, "keep", 0755);
	make_file(fd, "keep/file", 0644, "x");
	make_plain_dir(fd, "gone", 0755);
	make_plain_dir(fd, "gone/below", 0755);
	assert_int_equal(symlinkat("../keep", fd, "gone/link"), 0);
	assert_int_equal(symlinkat("../../keep/file", fd, "gone/below/link"), 0);
	assert_int_equal(tree_remove(fd, "gone"), 0);
	assert_false(exists(fd, "gone"));
	assert_true(exists(fd, "keep/file"));
	assert_int_equal(tree_remove(fd, "gone"), 0);
	assert_int_equal(tree_empty(fd, "keep"), 0);
	assert_true(exists(fd, "keep"));
	assert_false(exists(fd, "keep/file"));
	assert_int_equal(tree_empty(fd, "not-there"), 0);
	/* A link in the place of the directory is not followed. */
	make_file(fd, "keep/file", 0644, "x");
	assert_int_equal(symlinkat("keep", fd, "link"), 0);
	assert_true(tree_empty(fd, "link") < 0);
	assert_int_equal(tree_remove(fd, "link"), 0);
	assert_true(exists(fd, "keep/file"));
}

static void test_hash_tells_trees_apart(void **state)
{
	int fd = ((struct place *)*state)->fd;
	uint64_t before, after;

	make_plain_dir(fd, "a", 0755);
	make_file(fd, "a/file", 0644, "one");
	assert_int_equal(tree_hash(fd, "a", &before), 0);
	assert_int_equal(tree_hash(fd, "a", &after), 0);
	assert_true(before == after);
	make_file(fd, "a/file", 0644, "two");
	assert_int_equal(tree_hash(fd, "a", &after), 0);
	assert_true(before != after);
	make_file(fd, "a/file", 0600, "one");
	assert_int_equal(tree_hash(fd, "a", &after), 0);
	assert_true(before != after);
	make_file(fd, "a/file", 0644, "one");
	assert_int_equal(tree_hash(fd, "a", &after), 0);
	assert_true(before == after);
	make_file(fd, "a/fill", 0644, "");
	assert_int_equal(tree_hash(fd, "a", &after), 0);
	assert_true(before != after);
	assert_int_equal(tree_hash(fd, "not-there", &after), -ENOENT);
}

static void test_bytes_counts_a_file_once(void **state)
{
	int fd = ((struct place *)*state)->fd;
	char text[16384];
	uint64_t one, two;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	make_plain_dir(fd, "a", 0755);
	make_file(fd, "a/file", 0644, text);
	assert_int_equal(tree_bytes(fd, "a", &one), 0);
	assert_true(one >= sizeof(text) - 1);
	assert_int_equal(linkat(fd, "a/file", fd, "a/again", 0), 0);
	assert_int_equal(tree_bytes(fd, "a", &two), 0);
	assert_true(one == two);
}

static void test_files(void **state)
{
	int fd = ((struct place *)*state)->fd;
	char *text = NULL;

	make_plain_dir(fd, "a", 0755);
	make_file(fd, "a/file", 0640, "text");
	assert_int_equal(read_file(fd, "a/file", &text), 0);
	assert_string_equal(text, "text");
	free(text);
	assert_int_equal(symlinkat("file", fd, "a/link"), 0);
	assert_int_equal(read_file(fd, "a/link", &text), -ELOOP);
	assert_int_equal(read_file(fd, "a", &text), -EINVAL);
	assert_int_equal(read_file(fd, "../etc/passwd", &text), -EXDEV);
	assert_int_equal(symlinkat("/etc", fd, "etc"), 0);
	assert_int_equal(read_file(fd, "etc/passwd", &text), -EXDEV);
	/* Writing replaces a link; what it points to stays. */
	make_file(fd, "a/link", 0644, "new");
	assert_int_equal(read_file(fd, "a/file", &text), 0);
	assert_string_equal(text, "text");
	free(text);
}

static void test_copy_takes_what_all_may_read(void **state)
{
	int fd = ((struct place *)*state)->fd;
	struct stat st;

	if (geteuid() != 0) {
		skip(); /* the copy belongs to root */
		return;
	}
	make_plain_dir(fd, "from", 0755);
	make_file(fd, "from/open", 0664, "x");
	make_file(fd, "from/setuid", 04755, "x");
	make_file(fd, "from/secret", 0600, "x");
	make_plain_dir(fd, "from/private", 0750);
	make_file(fd, "from/private/file", 0644, "x");
	assert_int_equal(mkfifoat(fd, "from/fifo", 0666), 0);
	assert_int_equal(symlinkat("/etc/shadow", fd, "from/link"), 0);
	assert_int_equal(tree_copy(fd, "from", fd, "to"), 0);
	assert_int_equal(fstatat(fd, "to/open", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(fstatat(fd, "to/setuid", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_true(exists(fd, "to/link"));
	assert_false(exists(fd, "to/secret"));
	assert_false(exists(fd, "to/private"));
	assert_false(exists(fd, "to/fifo"));
	assert_int_equal(tree_copy(fd, "not-there", fd, "to2"), 0);
	assert_false(exists(fd, "to2"));
	assert_int_equal(tree_copy(fd, "../../etc", fd, "to3"), -EXDEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_remove_follows_no_link, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hash_tells_trees_apart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bytes_counts_a_file_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_copy_takes_what_all_may_read, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
