/* SPDX-License-Identifier: Apache-2.0 */
/* What control makes of a file child's words, and of a client's. */
#include "unit.h"

#include <sys/stat.h>

#include "control/file_methods.h"
#include "control/json.h"

/* ---- base64 ---- */

static void expect_base64(const char *bytes, size_t n, const char *text)
{
	uint8_t decoded[16];
	_free_ char *encoded = base64_encode((const uint8_t *)bytes, n);

	assert_string_equal(encoded, text);
	assert_int_equal(base64_decode(text, strlen(text), decoded), n);
	assert_memory_equal(decoded, bytes, n);
}

static void test_base64(void **state _unused_)
{
	static const char *const wrong[] = { "Z", "Zg", "Zg=", "Zg===", "====", "Zh==", "Zm9=", "Z===", "Zm9v\n",
		"Zm-_", "Z=g=", "Zg==Zg==" };
	uint8_t decoded[16];

	expect_base64("", 0, "");
	expect_base64("f", 1, "Zg==");
	expect_base64("fo", 2, "Zm8=");
	expect_base64("foo", 3, "Zm9v");
	expect_base64("foob", 4, "Zm9vYg==");
	expect_base64("\xff\xfe\0", 3, "//4A");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (base64_decode(wrong[i], strlen(wrong[i]), decoded) != -EINVAL)
			fail_msg("%s is taken", wrong[i]);
}

static void test_modes(void **state _unused_)
{
	static const char *const wrong[] = { "", "8", "0o644", "10000", "77777", "-1", "644 ", "000644" };
	uint32_t mode = 1;

	assert_int_equal(file_parse_mode("0644", &mode), 0);
	assert_int_equal(mode, 0644);
	assert_int_equal(file_parse_mode("07777", &mode), 0);
	assert_int_equal(mode, 07777);
	assert_int_equal(file_parse_mode("0", &mode), 0);
	assert_int_equal(mode, 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(file_parse_mode(wrong[i], &mode), -EINVAL);
}

/* ---- contents ---- */

static void expect_content(const char *bytes, size_t n, const char *encoding, const char *content)
{
	json_t *result = json_object();

	file_put_content(&result, (const uint8_t *)bytes, n, false);
	assert_string_equal(json_string_value(json_object_get(result, "encoding")), encoding);
	assert_string_equal(json_string_value(json_object_get(result, "content")), content);
	json_decref(result);
}

static void test_contents(void **state _unused_)
{
	expect_content("", 0, "utf-8", "");
	expect_content("h\xc3\xa4\n", 4, "utf-8", "h\xc3\xa4\n");
	expect_content("a\0b", 3, "base64", "YQBi");
	expect_content("a\xff", 2, "base64", "Yf8=");
	/* Text by name, but six bytes for each in JSON. */
	expect_content("\x01\x02\x03\x04\x05\x06", 6, "base64", "AQIDBAUG");
}

/* ---- pages ---- */

struct page {
	_Alignas(8) uint8_t bytes[4096];
	size_t n;
};

static struct files_entry *add(struct page *page, const char *path, const char *target, uint32_t mode)
{
	struct files_entry *entry = (void *)(page->bytes + page->n);
	size_t path_bytes = strlen(path), target_bytes = strlen(target);

	*entry = (struct files_entry){
		.attributes = { .size = 5, .mtime = 1000000000, .mode = mode, .n_links = 1 },
		.path_bytes = (uint16_t)path_bytes,
		.target_bytes = (uint16_t)target_bytes,
	};
	memcpy(page->bytes + page->n + sizeof(*entry), path, path_bytes + 1);
	memcpy(page->bytes + page->n + sizeof(*entry) + path_bytes + 1, target, target_bytes + 1);
	page->n += files_entry_bytes(path_bytes, target_bytes);
	return entry;
}

static void test_page(void **state _unused_)
{
	struct page page = { .n = 0 };

	add(&page, "a", "", S_IFREG | 0644);
	add(&page, "b\xff", "to", S_IFLNK | 0777);
	add(&page, "c/d", "", S_IFDIR)->unread = -EACCES;
	json_t *json = file_page_json(page.bytes, page.n, true), *entries = json_object_get(json, "entries");
	assert_int_equal(json_array_size(entries), 3);
	json_t *first = json_array_get(entries, 0), *second = json_array_get(entries, 1),
	       *third = json_array_get(entries, 2);
	assert_string_equal(json_string_value(json_object_get(first, "path")), "a");
	assert_string_equal(json_string_value(json_object_get(first, "modified_at")), "2001-09-09T01:46:40.000Z");
	assert_null(json_object_get(first, "target"));
	assert_null(json_object_get(first, "path_is_exact"));
	assert_string_equal(json_string_value(json_object_get(second, "path")), "b\xef\xbf\xbd");
	assert_true(json_is_false(json_object_get(second, "path_is_exact")));
	assert_string_equal(json_string_value(json_object_get(second, "target")), "to");
	assert_string_equal(json_string_value(json_object_get(third, "unread")), "EACCES");
	assert_string_equal(json_string_value(json_object_get(json, "next_cursor")), "Yy9k");
	json_decref(json);
	json = file_page_json(page.bytes, 0, false);
	assert_true(json_is_null(json_object_get(json, "next_cursor")));
	json_decref(json);
}

static void test_pages_of_rubbish(void **state _unused_)
{
	struct page page = { .n = 0 };
	struct files_entry *entry = add(&page, "abc", "", S_IFREG);
	const struct files_entry good = *entry;

	for (size_t n = 1; n < page.n; n++)
		assert_null(file_page_json(page.bytes, n, false));
	entry->path_bytes = 0;
	assert_null(file_page_json(page.bytes, page.n, false));
	*entry = good;
	entry->path_bytes = 4;
	assert_null(file_page_json(page.bytes, page.n, false));
	*entry = good;
	entry->target_bytes = 5000;
	assert_null(file_page_json(page.bytes, page.n, false));
	*entry = good;
	entry->attributes.size = UINT64_MAX;
	assert_null(file_page_json(page.bytes, page.n, false));
	*entry = good;
	entry->attributes.mtime_ns = 1000000000;
	assert_null(file_page_json(page.bytes, page.n, false));
	*entry = good;
	entry->unread = 1;
	assert_null(file_page_json(page.bytes, page.n, false));
}

/* A time that no calendar has is none. */
static void test_times(void **state _unused_)
{
	static const int64_t none[] = { -1, INT64_MIN, INT64_MAX, INT64_C(16725225600) };

	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		json_t *json = file_json(&(struct files_attributes){ .mtime = none[i] }, NULL);
		assert_true(json_is_null(json_object_get(json, "modified_at")));
		json_decref(json);
	}
}

/* ---- answers ---- */

static void test_answers(void **state _unused_)
{
	struct files_done done = { .attributes.mode = S_IFREG | 0644 };

	msg_init(&done.header, FILES_STAT | MSG_REPLY, 1, sizeof(done));
	assert_int_equal(msg_check(&done, sizeof(done), 0, files_answers, n_files_answers), 0);
	assert_int_equal(msg_check(&done, sizeof(done), 1, files_answers, n_files_answers), -EPROTO);
	assert_int_equal(msg_check(&done, sizeof(done) - 1, 0, files_answers, n_files_answers), -EPROTO);
	done.err.num = 1;
	assert_int_equal(msg_check(&done, sizeof(done), 0, files_answers, n_files_answers), -EPROTO);
	done.err.num = 0;
	memset(done.text, 'x', sizeof(done.text));
	assert_int_equal(msg_check(&done, sizeof(done), 0, files_answers, n_files_answers), -EPROTO);
	done.text[0] = '\0';
	done.more = 2;
	assert_int_equal(msg_check(&done, sizeof(done), 0, files_answers, n_files_answers), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_page),
		cmocka_unit_test(test_pages_of_rubbish),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
