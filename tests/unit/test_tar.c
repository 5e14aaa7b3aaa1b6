/* SPDX-License-Identifier: Apache-2.0 */
/* The tar format: what is written is read again, what others write is read, what is wrong is found. */
#include "unit.h"

#include <stdio.h>

#include "sandbox/tar_format.h"

/* An archive in memory, given out in pieces. */
struct source {
	uint8_t bytes[1 << 17];
	size_t n, at, piece;
	struct err err;
	struct tar_reader *reader;
	struct tar_entry entry;
};

static int read_source(void *arg, void *bytes, size_t n)
{
	struct source *source = arg;
	size_t left = source->n - source->at;

	n = n < left ? n : left;
	n = n < source->piece ? n : source->piece;
	memcpy(bytes, source->bytes + source->at, n);
	source->at += n;
	return (int)n;
}

static int setup(void **state)
{
	struct source *source = calloc(1, sizeof(*source));

	source->reader = calloc(1, sizeof(*source->reader));
	source->piece = SIZE_MAX;
	*state = source;
	return 0;
}

static int teardown(void **state)
{
	struct source *source = *state;

	free(source->reader);
	free(source);
	return 0;
}

static void add(struct source *source, const void *bytes, size_t n)
{
	size_t padded = (size_t)tar_padded(n);

	memcpy(source->bytes + source->n, bytes, n);
	memset(source->bytes + source->n + n, 0, padded - n);
	source->n += padded;
}

static void add_entry(struct source *source, const struct tar_entry *entry, const char *contents)
{
	source->n += tar_header(entry, false, 0, source->bytes + source->n);
	add(source, contents, strlen(contents));
}

/* A header by hand: NAME, TYPE and SIZE in a block, with the right sum. */
static struct tar_block *add_block(struct source *source, const char *name, char type, size_t size)
{
	struct tar_block block = { .type = type };
	char text[24];

	memcpy(block.name, name, strnlen(name, sizeof(block.name)));
	snprintf(block.mode, sizeof(block.mode), "%07o", 0644);
	snprintf(text, sizeof(text), "%011zo", size);
	memcpy(block.size, text, sizeof(block.size)); /* its NUL, too */
	add(source, &block, sizeof(block));
	return (void *)(source->bytes + source->n - TAR_BLOCK);
}

static void sum(struct tar_block *block)
{
	char text[8];

	snprintf(text, sizeof(text), "%06o", tar_checksum(block));
	memcpy(block->checksum, text, sizeof(block->checksum));
}

static void add_end(struct source *source)
{
	memset(source->bytes + source->n, 0, 2 * TAR_BLOCK);
	source->n += 2 * TAR_BLOCK;
}

static void open_source(struct source *source)
{
	source->at = 0;
	source->err = (struct err){ 0 };
	tar_read_open(source->reader, read_source, source, &source->err);
}

static void expect_next(struct source *source)
{
	int r = tar_next(source->reader, &source->entry);

	if (r != 1)
		fail_msg("%d: %s %s", r, source->err.step, source->err.object);
}

static void expect_error(struct source *source, int num)
{
	int r;

	open_source(source);
	while ((r = tar_next(source->reader, &source->entry)) > 0)
		continue;
	assert_int_equal(r, num);
	assert_int_equal(source->err.num, num);
	assert_string_equal(source->err.step, "archive");
}

/* The contents of the entry, whose holes are dots. */
static void expect_contents(struct source *source, const char *wanted)
{
	char text[256];
	const uint8_t *bytes;
	uint64_t offset;
	size_t n;
	int r;

	memset(text, '.', sizeof(text));
	while ((r = tar_data(source->reader, &bytes, &n, &offset)) > 0) {
		assert_true(offset + n < sizeof(text));
		memcpy(text + offset, bytes, n);
	}
	assert_int_equal(r, 0);
	text[source->entry.size] = '\0';
	assert_string_equal(text, wanted);
}

/* ---- there and back ---- */

static void test_plain(void **state)
{
	struct source *source = *state;
	const struct tar_entry file = {
		.type = TAR_FILE, .mode = 04751, .uid = 7, .gid = 8, .size = 5, .mtime = 1234567890, .path = "a/b"
	};
	const struct tar_entry link = { .type = TAR_SYMLINK, .mode = 0777, .path = "l", .target = "../x" };

	add_entry(source, &file, "hello");
	add_entry(source, &link, "");
	add_end(source);
	assert_int_equal(source->n, 5 * TAR_BLOCK);
	for (source->piece = 1; source->piece < 2000; source->piece += 331) {
		open_source(source);
		expect_next(source);
		assert_int_equal(source->entry.type, TAR_FILE);
		assert_string_equal(source->entry.path, "a/b");
		assert_int_equal(source->entry.mode, 04751);
		assert_int_equal(source->entry.uid, 7);
		assert_int_equal(source->entry.gid, 8);
		assert_int_equal(source->entry.mtime, 1234567890);
		expect_contents(source, "hello");
		expect_next(source);
		assert_int_equal(source->entry.type, TAR_SYMLINK);
		assert_string_equal(source->entry.target, "../x");
		assert_int_equal(tar_next(source->reader, &source->entry), 0);
	}
}

static void test_contents_are_passed_over(void **state)
{
	struct source *source = *state;
	struct tar_entry file = { .type = TAR_FILE, .size = 5, .path = "a" };

	add_entry(source, &file, "hello");
	file.path[0] = 'b';
	add_entry(source, &file, "world");
	add_end(source);
	open_source(source);
	expect_next(source);
	expect_next(source);
	expect_contents(source, "world");
}

static void test_what_ustar_has_no_room_for(void **state)
{
	struct source *source = *state;
	struct tar_entry entry = {
		.type = TAR_SYMLINK, .uid = 3000000, .gid = 4294967294, .mtime = -2, .mtime_ns = 250000000
	};

	memset(entry.path, 'p', 4095);
	memset(entry.target, 't', 4095);
	add_entry(source, &entry, "");
	add_end(source);
	open_source(source);
	expect_next(source);
	assert_string_equal(source->entry.path, entry.path);
	assert_string_equal(source->entry.target, entry.target);
	assert_int_equal(source->entry.uid, 3000000);
	assert_int_equal(source->entry.gid, 4294967294);
	assert_int_equal(source->entry.mtime, -2);
	assert_int_equal(source->entry.mtime_ns, 250000000);
}

/* Every length of names, so that those at the edges of the fields are among them. */
static void test_every_length(void **state)
{
	struct source *source = *state;

	for (size_t n = 1; n < 300; n++) {
		struct tar_entry entry = { .type = TAR_HARD_LINK };
		memset(entry.path, 'n', n);
		memset(entry.target, 't', n);
		for (size_t i = 60; i < n; i += 60)
			entry.path[i] = '/';
		source->n = 0;
		add_entry(source, &entry, "");
		add_end(source);
		open_source(source);
		expect_next(source);
		assert_string_equal(source->entry.path, entry.path);
		assert_string_equal(source->entry.target, entry.target);
	}
}

static void test_holes(void **state)
{
	struct source *source = *state;
	const struct tar_entry file = { .type = TAR_FILE, .size = 20, .path = "dir/sparse" };
	const struct tar_extent extents[] = { { 3, 2 }, { 10, 4 } };
	char map[2 * TAR_BLOCK];

	size_t map_bytes = tar_map(extents, 2, 20, NULL);
	assert_int_equal(map_bytes, TAR_BLOCK);
	assert_int_equal(tar_map(extents, 2, 20, map), map_bytes);
	source->n = tar_header(&file, true, map_bytes + 6, source->bytes);
	add(source, map, map_bytes);
	add(source, "abcdef", 6);
	add_end(source);
	open_source(source);
	expect_next(source);
	assert_string_equal(source->entry.path, "dir/sparse");
	assert_int_equal(source->entry.size, 20);
	expect_contents(source, "...ab.....cdef......");
	assert_int_equal(tar_next(source->reader, &source->entry), 0);
}

static void test_old_holes(void **state)
{
	struct source *source = *state;
	struct tar_more_extents more = { .extents = { "00000000014" } };
	struct tar_block *block = add_block(source, "old", 'S', 6);

	memcpy(block->magic, TAR_GNU_MAGIC, sizeof(TAR_GNU_MAGIC));
	memcpy(block->gnu.extents[0], "00000000003\00000000000002", 24);
	memcpy(block->gnu.real_size, "00000000024", 12);
	block->gnu.more = 1;
	sum(block);
	memcpy(more.extents[0] + 12, "00000000004", 12);
	add(source, &more, sizeof(more));
	add(source, "abcdef", 6);
	add_end(source);
	open_source(source);
	expect_next(source);
	expect_contents(source, "...ab.......cdef....");
}

/* ---- what others write ---- */

static void test_long_names_of_gnu(void **state)
{
	struct source *source = *state;
	char name[300];

	memset(name, 'n', sizeof(name));
	name[299] = '\0';
	sum(add_block(source, "././@LongLink", 'L', sizeof(name)));
	add(source, name, sizeof(name));
	sum(add_block(source, "cut", '0', 0));
	add_end(source);
	open_source(source);
	expect_next(source);
	assert_string_equal(source->entry.path, name);
}

static void test_old_directories_and_sizes_of_links(void **state)
{
	struct source *source = *state;

	sum(add_block(source, "d/", '\0', 0));
	/* Some programs give a hard link the size of its file, but no data. */
	sum(add_block(source, "l", '1', 12345));
	add_end(source);
	open_source(source);
	expect_next(source);
	assert_int_equal(source->entry.type, TAR_DIRECTORY);
	expect_next(source);
	assert_int_equal(source->entry.type, TAR_HARD_LINK);
	assert_int_equal(tar_next(source->reader, &source->entry), 0);
}

static void test_numbers(void **state _unused_)
{
	int64_t value;
	uint64_t positive;
	uint32_t ns;

	assert_int_equal(tar_parse_field("0000644\0", 8, &value), 0);
	assert_int_equal(value, 0644);
	assert_int_equal(tar_parse_field("   644 \0", 8, &value), 0);
	assert_int_equal(value, 0644);
	assert_int_equal(tar_parse_field("777777777777", 12, &value), 0);
	assert_int_equal(value, 0777777777777);
	assert_int_equal(tar_parse_field("\x80\0\0\0\0\0\0\0\x02\0\0\0", 12, &value), 0);
	assert_int_equal(value, 0x02000000);
	assert_int_equal(tar_parse_field("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12, &value), 0);
	assert_int_equal(value, -2);
	assert_int_equal(tar_parse_field("\xff\xff\xff\xff\xff\xff\xff\xfe", 8, &value), 0);
	assert_int_equal(value, -2);
	assert_int_equal(tar_parse_field("\x80\0\x01\0\0\0\0\0\0\0\0\0", 12, &value), -EBADMSG);
	assert_int_equal(tar_parse_field("\x80\0\0\0\xff\0\0\0\0\0\0\0", 12, &value), -EBADMSG);
	assert_int_equal(tar_parse_field("12345678", 8, &value), -EBADMSG);
	assert_int_equal(tar_parse_field("-1      ", 8, &value), -EBADMSG);
	assert_int_equal(tar_parse_decimal("9223372036854775807", 19, &positive), 0);
	assert_int_equal(tar_parse_decimal("9223372036854775808", 19, &positive), -EBADMSG);
	assert_int_equal(tar_parse_decimal("", 0, &positive), -EBADMSG);
	assert_int_equal(tar_parse_time("-1.5", 4, &value, &ns), 0);
	assert_int_equal(value, -2);
	assert_int_equal(ns, 500000000);
	assert_int_equal(tar_parse_time("12.0123456789", 13, &value, &ns), 0);
	assert_int_equal(ns, 12345678);
	assert_int_equal(tar_parse_time("1.x", 3, &value, &ns), -EBADMSG);
	assert_int_equal(tar_parse_time(".5", 2, &value, &ns), -EBADMSG);
}

/* ---- what is wrong ---- */

static void test_cut_short(void **state)
{
	struct source *source = *state;
	const struct tar_entry file = { .type = TAR_FILE, .size = 5, .mtime_ns = 1, .path = "a" };

	add_entry(source, &file, "hello");
	add_end(source);
	/* One block of zeros is end enough. */
	for (size_t n = source->n - TAR_BLOCK - 1; n > 0; n -= n > 100 ? 97 : 1) {
		source->n = n;
		expect_error(source, -EPIPE);
	}
}

static void test_sums(void **state)
{
	struct source *source = *state;
	const struct tar_entry file = { .type = TAR_FILE, .path = "a" };

	add_entry(source, &file, "");
	add_end(source);
	for (size_t i = 0; i < TAR_BLOCK; i += 7) {
		/* The blanks around the number are of no weight. */
		if (i >= offsetof(struct tar_block, checksum) && i < offsetof(struct tar_block, type))
			continue;
		source->bytes[i] ^= 0x41;
		expect_error(source, -EBADMSG);
		source->bytes[i] ^= 0x41;
	}
}

static void expect_records(struct source *source, const char *records, int num)
{
	source->n = 0;
	sum(add_block(source, "x", 'x', strlen(records)));
	add(source, records, strlen(records));
	sum(add_block(source, "f", '0', 0));
	add_end(source);
	if (num < 0) {
		expect_error(source, num);
		return;
	}
	open_source(source);
	expect_next(source);
}

static void test_records(void **state)
{
	struct source *source = *state;

	expect_records(source, "10 path=a\n15 comment=xyz\n", 0);
	assert_string_equal(source->entry.path, "a");
	expect_records(source, "21 hdrcharset=BINARY\n", 0);
	expect_records(source, "8 path=a\n", -EBADMSG);
	expect_records(source, "11 path=a\n", -EBADMSG);
	expect_records(source, "99999999999 path=a\n", -EBADMSG);
	expect_records(source, "0 \n", -EBADMSG);
	expect_records(source, "7 patha", -EBADMSG);
	expect_records(source, "8 nokey\n", -EBADMSG);
	expect_records(source, "x path=a\n", -EBADMSG);
	expect_records(source, "12 size=-1x\n", -EBADMSG);
	expect_records(source, "18 uid=4294967295\n", -EBADMSG);
	expect_records(source, "23 GNU.sparse.major=0\n\n", -EBADMSG);
	expect_records(source, "22 GNU.sparse.major=0\n", -EOPNOTSUPP);
	expect_records(source, "22 GNU.sparse.major=1\n", -EOPNOTSUPP);
	expect_records(source, "25 GNU.sparse.map=0,1,2,\n", -EOPNOTSUPP);
}

static void test_types_that_are_not_read(void **state)
{
	struct source *source = *state;

	sum(add_block(source, "f", 'M', 0));
	add_end(source);
	expect_error(source, -EOPNOTSUPP);
	source->n = 0;
	sum(add_block(source, "f", 'L', TAR_PATH_SIZE + 1));
	expect_error(source, -ENAMETOOLONG);
	source->n = 0;
	sum(add_block(source, "f", 'x', TAR_MAX_EXTENDED + 1));
	expect_error(source, -E2BIG);
}

static void expect_map(struct source *source, const char *map, int num)
{
	const struct tar_entry file = { .type = TAR_FILE, .size = 20, .path = "s" };

	source->n = tar_header(&file, true, TAR_BLOCK + 6, source->bytes);
	add(source, map, strlen(map));
	add(source, "abcdef", 6);
	add_end(source);
	expect_error(source, num);
}

static void test_maps(void **state)
{
	struct source *source = *state;

	expect_map(source, "1\n0\n7\n", -EBADMSG); /* more than there is */
	expect_map(source, "2\n5\n2\n0\n2\n", -EBADMSG); /* backwards */
	expect_map(source, "1\n18\n3\n", -EBADMSG); /* past the end */
	expect_map(source, "1\n9223372036854775807\n1\n", -EBADMSG);
	expect_map(source, "1\n1\n9223372036854775807\n", -EBADMSG);
	expect_map(source, "1\nx\n1\n", -EBADMSG);
	expect_map(source, "999999999\n0\n1\n", -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_contents_are_passed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_ustar_has_no_room_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_old_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_names_of_gnu, setup, teardown),
		cmocka_unit_test_setup_teardown(test_old_directories_and_sizes_of_links, setup, teardown),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test_setup_teardown(test_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sums, setup, teardown),
		cmocka_unit_test_setup_teardown(test_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_types_that_are_not_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_maps, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
