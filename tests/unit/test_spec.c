/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "wire/spec.h"

static const struct spec_header plain = { .cwd = "/" };

static char *argv_true[] = { "true", NULL };
static char *no_env[] = { NULL };

/* A memfd with BYTES and the seals of a spec: what a hostile control could hand over. */
static int seal(const void *bytes, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	assert_return_code(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), errno);
	return fd;
}

static void test_round_trip(void **state _unused_)
{
	struct spec_header header = { .flags = SPEC_TTY,
		.uid = 1000,
		.gid = 100,
		.n_groups = 2,
		.groups = { 5, 27 },
		.user = "me",
		.cwd = "/tmp" };
	char *argv[] = { "sh", "-c", "", "a b", NULL }, *envp[] = { "A=1", "B=", "=x", NULL };
	struct spec spec;

	_close_ int fd = spec_write(&header, argv, envp);
	assert_true(fd >= 0);
	assert_int_equal(spec_read(fd, &spec), 0);
	assert_int_equal(spec.header->flags, SPEC_TTY);
	assert_int_equal(spec.header->uid, 1000);
	assert_int_equal(spec.header->n_groups, 2);
	assert_int_equal(spec.header->groups[1], 27);
	assert_string_equal(spec.header->user, "me");
	assert_string_equal(spec.header->cwd, "/tmp");
	for (size_t i = 0; i < ARRAY_SIZE(argv) - 1; i++)
		assert_string_equal(spec.argv[i], argv[i]);
	assert_null(spec.argv[4]);
	for (size_t i = 0; i < ARRAY_SIZE(envp) - 1; i++)
		assert_string_equal(spec.envp[i], envp[i]);
	assert_null(spec.envp[3]);
	spec_release(&spec);
	assert_null(spec.map);
}

static void test_is_sealed(void **state _unused_)
{
	_close_ int fd = spec_write(&plain, argv_true, no_env);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 1 << 20), -1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

static void test_write_limits(void **state _unused_)
{
	char *none[] = { NULL }, *bad_env[] = { "A=1", "B", NULL };
	static char *many[SPEC_MAX_STRINGS + 2];
	struct spec_header relative = { .cwd = "tmp" }, groups = { .cwd = "/", .n_groups = SPEC_MAX_GROUPS + 1 },
			   flags = { .cwd = "/", .flags = 4 }, endless = { .cwd = "/" };

	assert_int_equal(spec_write(&plain, none, no_env), -EINVAL);
	assert_int_equal(spec_write(&plain, argv_true, bad_env), -EINVAL);
	assert_int_equal(spec_write(&relative, argv_true, no_env), -EINVAL);
	assert_int_equal(spec_write(&groups, argv_true, no_env), -EINVAL);
	assert_int_equal(spec_write(&flags, argv_true, no_env), -EINVAL);
	memset(endless.user, 'x', sizeof(endless.user));
	assert_int_equal(spec_write(&endless, argv_true, no_env), -EINVAL);

	for (size_t i = 0; i <= SPEC_MAX_STRINGS; i++)
		many[i] = "A=";
	assert_int_equal(spec_write(&plain, many, no_env), -E2BIG);
	assert_int_equal(spec_write(&plain, argv_true, many), -E2BIG);
	many[SPEC_MAX_STRINGS] = NULL;
	_close_ int fd = spec_write(&plain, many, many);
	assert_true(fd >= 0);
}

static void test_write_size_limit(void **state _unused_)
{
	/* With the header, "a", '\0' and the last '\0' exactly the limit. */
	size_t n = SPEC_MAX_BYTES - sizeof(struct spec_header) - 2 - 1;
	_free_ char *big = malloc(n + 2);
	char *argv[] = { "a", big, NULL };
	struct spec spec;

	assert_non_null(big);
	memset(big, 'x', n);
	big[n] = '\0';
	_close_ int fd = spec_write(&plain, argv, no_env);
	assert_true(fd >= 0);
	assert_int_equal(spec_read(fd, &spec), 0);
	assert_int_equal(strlen(spec.argv[1]), n);
	spec_release(&spec);

	memcpy(big + n, "x", 2);
	assert_int_equal(spec_write(&plain, argv, no_env), -E2BIG);
}

static void test_read_wants_seals(void **state _unused_)
{
	struct spec spec;
	uint8_t bytes[sizeof(struct spec_header) + 16];

	_close_ int good = spec_write(&plain, argv_true, no_env);
	ssize_t n = pread(good, bytes, sizeof(bytes), 0);
	assert_true(n > 0);

	_close_ int sealed = seal(bytes, (size_t)n);
	assert_int_equal(spec_read(sealed, &spec), 0);
	spec_release(&spec);

	_close_ int unsealed = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(write(unsealed, bytes, (size_t)n), n);
	assert_int_equal(spec_read(unsealed, &spec), -EPROTO);
	assert_return_code(fcntl(unsealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW), errno);
	assert_int_equal(spec_read(unsealed, &spec), -EPROTO);

	_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(spec_read(null, &spec), -EPROTO);
	assert_int_equal(spec_read(-1, &spec), -EPROTO);
}

static void test_read_sizes(void **state _unused_)
{
	struct spec spec;
	struct spec_header h = { 0 };
	_free_ char *huge = calloc(1, SPEC_MAX_BYTES + 1);

	_close_ int empty = seal(&h, 0);
	assert_int_equal(spec_read(empty, &spec), -EPROTO);
	_close_ int cut = seal(&h, sizeof(h) - 1);
	assert_int_equal(spec_read(cut, &spec), -EPROTO);
	_close_ int zero = seal(&h, sizeof(h));
	assert_int_equal(spec_read(zero, &spec), -EPROTO);
	_close_ int large = seal(huge, SPEC_MAX_BYTES + 1);
	assert_int_equal(spec_read(large, &spec), -EPROTO);
}

/* Damages one thing in a good spec of 2 arguments and 1 assignment; the parser has to see it. */
struct bytes {
	struct spec_header h;
	char strings[16];
	size_t n;
};

static void fill(struct bytes *b)
{
	char *argv[] = { "ab", "c", NULL }, *envp[] = { "D=e", NULL };
	_close_ int fd = spec_write(&plain, argv, envp);
	ssize_t n = pread(fd, b, sizeof(b->h) + sizeof(b->strings), 0);
	assert_int_equal(n, sizeof(b->h) + 3 + 2 + 4);
	b->n = (size_t)n;
}

static int parse(const struct bytes *b)
{
	char *argv[4], *envp[4];
	return spec_parse(b, b->n, argv, envp);
}

static void test_parse_refuses(void **state _unused_)
{
	struct bytes b;

	fill(&b);
	assert_int_equal(parse(&b), 0);
	b.n--;
	assert_int_equal(parse(&b), -EPROTO);
	b.n = sizeof(b.h) - 1;
	assert_int_equal(parse(&b), -EPROTO);
#define REFUSES(change)                               \
	do {                                          \
		fill(&b);                             \
		change;                               \
		assert_int_equal(parse(&b), -EPROTO); \
	} while (0)
	REFUSES(b.h.magic++);
	REFUSES(b.h.version++);
	REFUSES(b.h.total_bytes++);
	REFUSES(b.h.flags = 1u << 31);
	REFUSES(b.h.n_groups = SPEC_MAX_GROUPS + 1);
	REFUSES(b.h.argc = 0);
	REFUSES(b.h.argc = 1); /* "c" becomes an assignment */
	REFUSES(b.h.argc = UINT32_MAX);
	REFUSES(b.h.envc = 0); /* something is left over */
	REFUSES(b.h.envc = 2);
	REFUSES(b.h.envc = UINT32_MAX);
	REFUSES(memset(b.h.user, 'x', sizeof(b.h.user)));
	REFUSES(memset(b.h.cwd, '/', sizeof(b.h.cwd)));
	REFUSES(b.h.cwd[0] = '\0');
	REFUSES(b.strings[6] = 'x'); /* no '=' */
	REFUSES(b.strings[8] = 'x'); /* the last NUL */
	REFUSES((b.strings[9] = 'x', b.n++, b.h.total_bytes++)); /* trailing data */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_is_sealed),
		cmocka_unit_test(test_write_limits),
		cmocka_unit_test(test_write_size_limit),
		cmocka_unit_test(test_read_wants_seals),
		cmocka_unit_test(test_read_sizes),
		cmocka_unit_test(test_parse_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
