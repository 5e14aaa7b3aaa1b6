/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile file child: an answer in any shape, a page of any bytes. What passes has strings that end and attributes
 * that JSON has room for.
 */
#include "control/file_methods.h"
#include "control/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void need(bool condition)
{
	if (!condition)
		abort();
}

static void check_answer(const uint8_t *data, size_t n)
{
	static struct files_done done;

	memset(&done, 0, sizeof(done));
	memcpy(&done, data, n < sizeof(done) ? n : sizeof(done));
	uint16_t op = done.header.op % (FILES_COMMIT + 2);
	msg_init(&done.header, op | MSG_REPLY, 1, sizeof(done));
	if (msg_check(&done, sizeof(done), 0, files_answers, n_files_answers) < 0)
		return;
	need(done.err.num <= 0 && is_terminated(done.text, sizeof(done.text)));
	json_t *json = file_json(&done.attributes, done.text);
	need(json != NULL);
	json_decref(json);
	const struct file_failure failure = file_failure_of(&done.err);
	need(failure.kind < E_KIND_COUNT);
}

static void check_page(const uint8_t *data, size_t n)
{
	struct files_found found;
	size_t at = 0;
	int r;

	while ((r = files_page_next(data, n, &at, &found)) > 0) {
		need(at <= n && found.path[0] && strlen(found.path) == found.entry.path_bytes);
		need(strlen(found.target) == found.entry.target_bytes);
		need((const uint8_t *)found.target + found.entry.target_bytes < data + at);
	}
	json_t *json = file_page_json(data, n, n & 1);
	need((json != NULL) == (r == 0));
	json_decref(json);
}

/* Text and bytes come back as they went in. */
static void check_content(const uint8_t *data, size_t n)
{
	_free_ char *text = base64_encode(data, n);
	_free_ uint8_t *bytes = malloc(n + 3);

	need(text && bytes);
	need(base64_decode(text, strlen(text), bytes) == (ssize_t)n && memcmp(bytes, data, n) == 0);
	_free_ uint8_t *any = malloc(n / 4 * 3 + 3);
	need(base64_decode((const char *)data, n, any) <= (ssize_t)(n / 4 * 3));
	json_t *result = json_object();
	file_put_content(&result, data, n, false);
	need(json_is_string(json_object_get(result, "content")));
	json_decref(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	/* Entries are aligned, as a page read into memory is. */
	_free_ uint8_t *page = malloc(n + 1);

	need(page);
	memcpy(page, data, n);
	check_answer(page, n);
	check_page(page, n);
	check_content(page, n);
	return 0;
}
