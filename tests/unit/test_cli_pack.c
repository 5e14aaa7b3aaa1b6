/* SPDX-License-Identifier: Apache-2.0 */
/* Trees into tars and out of them: a copy is a copy, and nothing that an archive says leads out of the target. */
#include "tests/unit/unit.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cli/pack.h"
#include "wire/def.h"

struct place {
	char path[64];
	int fd;
};

static int set_up(void **state)
{
	static struct place place;

	snprintf(place.path, sizeof(place.path), "/tmp/carrel-pack-XXXXXX");
	if (!mkdtemp(place.path))
		return -1;
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &place;
	return place.fd < 0 || mkdirat(place.fd, "from", 0755) < 0 || mkdirat(place.fd, "to", 0755) < 0 ? -1 : 0;
}

static int remove_entry(const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *ftw _unused_)
{
	return remove(path);
}

static int tear_down(void **state)
{
	struct place *place = *state;

	close(place->fd);
	return nftw(place->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void put_file(const struct place *place, const char *path, mode_t mode, const char *text)
{
	int fd = openat(place->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_return_code(fchmod(fd, mode), errno);
	close(fd);
}

static void assert_file(const struct place *place, const char *path, const char *text)
{
	char buf[256] = "";
	int fd = openat(place->fd, path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, buf, sizeof(buf) - 1), strlen(text));
	assert_string_equal(buf, text);
	close(fd);
}

static struct stat look(const struct place *place, const char *path)
{
	struct stat st = { 0 };

	assert_return_code(fstatat(place->fd, path, &st, AT_SYMLINK_NOFOLLOW), errno);
	return st;
}

static bool exists(const struct place *place, const char *path)
{
	struct stat st;

	return fstatat(place->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Unpacks what FD holds into "to"; the negative errno or 0. */
static int unpack(const struct place *place, int fd, struct skipped *ret)
{
	_failure_ struct failure why = { 0 };
	struct transfer transfer;
	int dir = openat(place->fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	transfer_begin(&transfer, NULL, "to", 0);
	lseek(fd, 0, SEEK_SET);
	int r = unpack_tree(fd, dir, &transfer, ret, &why);
	close(dir);
	return r;
}

/* ---- a copy ---- */

static void test_copy(void **state)
{
	const struct place *place = *state;
	_failure_ struct failure why = { 0 };
	struct transfer transfer;
	struct skipped skipped;
	char path[128];

	put_file(place, "from/plain", 0640, "hello");
	put_file(place, "from/program", 04755, "#!");
	put_file(place, "from/empty", 0444, "");
	put_file(place, "from/n\303\244me \n", 0600, "name");
	assert_return_code(linkat(place->fd, "from/plain", place->fd, "from/second", 0), errno);
	assert_return_code(symlinkat("/etc/passwd", place->fd, "from/link"), errno);
	assert_return_code(mkfifoat(place->fd, "from/fifo", 0600), errno);
	assert_return_code(mkdirat(place->fd, "from/deep", 0755), errno);
	put_file(place, "from/deep/file", 0600, "deep");
	assert_return_code(fchmodat(place->fd, "from/deep", 0555, 0), errno);
	int hole = openat(place->fd, "from/hole", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(hole, "end", 3, 300000), 3);
	assert_return_code(ftruncate(hole, 400000), errno);
	close(hole);

	int fd = memfd_create("tar", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "%s/from", place->path);
	transfer_begin(&transfer, NULL, path, 0);
	assert_int_equal(pack_tree(path, fd, &transfer, &skipped, &why), 0);
	assert_int_equal(skipped.n, 1);
	assert_string_equal(skipped.first, "./fifo");
	assert_int_equal(unpack(place, fd, &skipped), 0);
	assert_int_equal(skipped.n, 0);
	close(fd);

	assert_file(place, "to/plain", "hello");
	assert_file(place, "to/n\303\244me \n", "name");
	assert_file(place, "to/deep/file", "deep");
	assert_int_equal(look(place, "to/plain").st_mode & 07777, 0640);
	assert_int_equal(look(place, "to/program").st_mode & 07777, 0755);
	assert_int_equal(look(place, "to/deep").st_mode & 07777, 0555);
	assert_int_equal(look(place, "to/plain").st_ino, look(place, "to/second").st_ino);
	assert_int_equal(look(place, "to/plain").st_mtim.tv_sec, look(place, "from/plain").st_mtim.tv_sec);
	assert_true(S_ISLNK(look(place, "to/link").st_mode));
	assert_int_equal(look(place, "to/hole").st_size, 400000);
	assert_false(exists(place, "to/fifo"));
	/* Once more over what is there. */
	assert_return_code(fchmodat(place->fd, "to/deep", 0755, 0), errno);
	assert_return_code(fchmodat(place->fd, "from/deep", 0755, 0), errno);
}

static void test_what_is_not_there(void **state)
{
	const struct place *place = *state;
	_failure_ struct failure why = { 0 };
	struct transfer transfer;
	struct skipped skipped;
	char path[128];

	snprintf(path, sizeof(path), "%s/none", place->path);
	transfer_begin(&transfer, NULL, path, 0);
	assert_true(pack_tree(path, memfd_create("tar", MFD_CLOEXEC), &transfer, &skipped, &why) < 0);
	assert_int_equal(why.code, EXIT_REFUSED);
}

/* ---- archives that somebody made ---- */

struct made {
	const char *name;
	mode_t type;
	mode_t mode;
	const char *text; /* contents, or where a link leads */
	bool hard;
};

/* A memfd with an archive of these entries, up to one without a name. */
static int make_archive(const struct made *made)
{
	int fd = memfd_create("tar", MFD_CLOEXEC);
	struct archive *tar = archive_write_new();

	archive_write_set_format_pax_restricted(tar);
	assert_int_equal(archive_write_open_fd(tar, fd), ARCHIVE_OK);
	for (; made->name; made++) {
		struct archive_entry *entry = archive_entry_new();
		size_t n = made->type == AE_IFREG && !made->hard && made->text ? strlen(made->text) : 0;
		archive_entry_set_pathname(entry, made->name);
		archive_entry_set_filetype(entry, made->type);
		archive_entry_set_perm(entry, made->mode);
		archive_entry_set_size(entry, (int64_t)n);
		if (made->hard)
			archive_entry_set_hardlink(entry, made->text);
		else if (made->type == AE_IFLNK)
			archive_entry_set_symlink(entry, made->text);
		assert_true(archive_write_header(tar, entry) >= ARCHIVE_WARN);
		if (n > 0)
			assert_int_equal(archive_write_data(tar, made->text, n), n);
		archive_entry_free(entry);
	}
	assert_int_equal(archive_write_close(tar), ARCHIVE_OK);
	archive_write_free(tar);
	return fd;
}

static int unpack_made(const struct place *place, const struct made *made, struct skipped *skipped)
{
	int fd = make_archive(made);
	int r = unpack(place, fd, skipped);

	close(fd);
	return r;
}

static void test_names_that_lead_out(void **state)
{
	static const char *const names[] = { "/absolute", "../outside", "a/../../outside", "..", "./../outside",
		"a/.." };
	const struct place *place = *state;
	struct skipped skipped;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct made made[] = { { names[i], AE_IFREG, 0644, "x" }, { 0 } };
		assert_int_equal(unpack_made(place, made, &skipped), -EXDEV);
	}
	assert_false(exists(place, "outside"));
}

static void test_links_that_lead_out(void **state)
{
	const struct place *place = *state;
	struct skipped skipped;

	put_file(place, "victim", 0600, "mine");
	const struct made through[] = { { "way", AE_IFLNK, 0777, ".." }, { "way/victim", AE_IFREG, 0644, "yours" },
		{ 0 } };
	assert_int_equal(unpack_made(place, through, &skipped), -ELOOP);
	const struct made deep[] = { { "way/new/file", AE_IFREG, 0644, "yours" }, { 0 } };
	assert_int_equal(unpack_made(place, deep, &skipped), -ELOOP);
	const struct made as_directory[] = { { "way", AE_IFDIR, 0777, NULL }, { "way/victim", AE_IFREG, 0644, "y" },
		{ 0 } };
	assert_int_equal(unpack_made(place, as_directory, &skipped), -ELOOP);
	const struct made hard[] = { { "same", AE_IFREG, 0644, "../victim", true }, { 0 } };
	assert_int_equal(unpack_made(place, hard, &skipped), -EXDEV);
	const struct made hard_through[] = { { "same", AE_IFREG, 0644, "way/victim", true }, { 0 } };
	assert_int_equal(unpack_made(place, hard_through, &skipped), -ELOOP);
	assert_file(place, "victim", "mine");
	assert_false(exists(place, "new"));
	/* A file replaces a link, not what it leads to. */
	const struct made at_link[] = { { "at", AE_IFLNK, 0777, "../victim" }, { "at", AE_IFREG, 0644, "yours" },
		{ 0 } };
	assert_int_equal(unpack_made(place, at_link, &skipped), 0);
	assert_file(place, "victim", "mine");
	assert_file(place, "to/at", "yours");
}

static void test_what_is_replaced(void **state)
{
	const struct place *place = *state;
	struct skipped skipped;

	const struct made twice[] = { { "f", AE_IFREG, 0400, "one" }, { "f", AE_IFREG, 0400, "two" }, { 0 } };
	assert_int_equal(unpack_made(place, twice, &skipped), 0);
	assert_file(place, "to/f", "two");
	const struct made directory[] = { { "d", AE_IFDIR, 0755, NULL }, { "d", AE_IFREG, 0644, "x" }, { 0 } };
	assert_int_equal(unpack_made(place, directory, &skipped), -EISDIR);
	const struct made under[] = { { "f/below", AE_IFREG, 0644, "x" }, { 0 } };
	assert_int_equal(unpack_made(place, under, &skipped), -ENOTDIR);
}

static void test_what_is_left_out(void **state)
{
	const struct place *place = *state;
	struct skipped skipped;

	const struct made made[] = { { "null", AE_IFCHR, 0666, NULL }, { "pipe", AE_IFIFO, 0666, NULL },
		{ "set", AE_IFREG, 06755, "x" }, { "sticky", AE_IFDIR, 01777, NULL }, { 0 } };
	assert_int_equal(unpack_made(place, made, &skipped), 0);
	assert_int_equal(skipped.n, 2);
	assert_string_equal(skipped.first, "null");
	assert_false(exists(place, "to/null") || exists(place, "to/pipe"));
	assert_int_equal(look(place, "to/set").st_mode & 07777, 0755);
	assert_int_equal(look(place, "to/sticky").st_mode & 07000, 0);
}

static void test_no_archive(void **state)
{
	const struct place *place = *state;
	struct skipped skipped;
	char noise[4096];
	int fd = memfd_create("tar", MFD_CLOEXEC);

	memset(noise, 'x', sizeof(noise));
	assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
	assert_int_equal(unpack(place, fd, &skipped), -EBADMSG);
	close(fd);
	/* One that is cut in the middle of a file is no whole one. */
	const struct made made[] = { { "long", AE_IFREG, 0644, "0123456789" }, { 0 } };
	fd = make_archive(made);
	assert_return_code(ftruncate(fd, 512 + 5), errno);
	assert_int_equal(unpack(place, fd, &skipped), -EBADMSG);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_copy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_not_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_names_that_lead_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_links_that_lead_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_archive, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
