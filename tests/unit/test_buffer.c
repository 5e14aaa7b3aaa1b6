/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "control/buffer.h"
#include "wire/def.h"

/* A different byte for each position in the stream, for long. */
static char byte_at(size_t position)
{
	return (char)(position * 167 / 13);
}

static void append(struct buffer *buffer, size_t *position, size_t n)
{
	for (size_t i = 0; i < n; i++, ++*position) {
		char byte = byte_at(*position);
		assert_int_equal(buffer_append(buffer, &byte, 1), 0);
	}
}

static void consume(struct buffer *buffer, size_t *position, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(buffer_head(buffer)[i], byte_at(*position + i));
	*position += n;
	buffer_consume(buffer, n);
}

/* What goes in comes out, and a stream that flows through does not make the buffer grow. */
static void test_stream(void **state _unused_)
{
	struct buffer buffer = { 0 };
	size_t in = 0, out = 0;

	append(&buffer, &in, 3000);
	for (size_t i = 0; i < 2000; i++) {
		append(&buffer, &in, 1 + i % 97);
		consume(&buffer, &out, 1 + i % 97);
		assert_int_equal(buffer_used(&buffer), 3000);
		assert_in_range(buffer.size, 3000, 16384);
	}
	consume(&buffer, &out, 3000);
	assert_int_equal(buffer_used(&buffer), 0);
	buffer_free(&buffer);
}

static void test_large_memory_is_given_back(void **state _unused_)
{
	struct buffer buffer = { 0 };

	assert_int_equal(buffer_reserve(&buffer, 1 << 20), 0);
	buffer.end += 1 << 20;
	buffer_consume(&buffer, (1 << 20) - 1);
	assert_in_range(buffer.size, 1 << 20, 1 << 21);
	buffer_consume(&buffer, 1);
	assert_int_equal(buffer.size, 0);
}

static void test_absurd_sizes(void **state _unused_)
{
	struct buffer buffer = { 0 };

	assert_int_equal(buffer_append(&buffer, "x", 1), 0);
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX), -ENOMEM);
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX / 2), -ENOMEM);
	assert_int_equal(buffer_used(&buffer), 1);
	assert_int_equal(buffer_head(&buffer)[0], 'x');
	buffer_free(&buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_large_memory_is_given_back),
		cmocka_unit_test(test_absurd_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
