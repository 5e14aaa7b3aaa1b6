/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <locale.h>

#include "cli/failure.h"
#include "cli/format.h"
#include "cli/table.h"
#include "cli/term.h"

static const struct term plain = { 0 };
static const struct term unicode = { .utf8 = true };
static const struct term colorful = { .tty = true, .color = true, .utf8 = true, .width = 80 };

/* ---- numbers, durations, times ---- */

static void test_bytes(void **state _unused_)
{
	char buf[FORMAT_SIZE];

	assert_string_equal(format_bytes(buf, 0), "0 B");
	assert_string_equal(format_bytes(buf, 1023), "1023 B");
	assert_string_equal(format_bytes(buf, 1024), "1 KiB");
	assert_string_equal(format_bytes(buf, 1536), "1.5 KiB");
	assert_string_equal(format_bytes(buf, 1048575), "1 MiB");
	assert_string_equal(format_bytes(buf, UINT64_C(796) << 20), "796 MiB");
	assert_string_equal(format_bytes(buf, UINT64_MAX), "16 EiB");
}

static void test_durations(void **state _unused_)
{
	char buf[FORMAT_SIZE];

	assert_string_equal(format_seconds(buf, -5), "0 s");
	assert_string_equal(format_seconds(buf, 59), "59 s");
	assert_string_equal(format_seconds(buf, 60), "1 min");
	assert_string_equal(format_seconds(buf, 3725), "1 h 2 min");
	assert_string_equal(format_seconds(buf, 90000), "1 d 1 h");
	assert_string_equal(format_ms(buf, 0.346), "0.35 ms");
	assert_string_equal(format_ms(buf, 9.996), "10.0 ms");
	assert_string_equal(format_ms(buf, 999.96), "1.00 s");
}

static void test_times(void **state _unused_)
{
	struct timespec at;
	char buf[FORMAT_SIZE];

	assert_int_equal(parse_time("2026-11-21T10:00:00.250Z", &at), 0);
	assert_int_equal(at.tv_sec, 1795255200);
	assert_int_equal(at.tv_nsec, 250000000);
	assert_string_equal(format_time(buf, &at), "2026-11-21T10:00:00.250Z");
	assert_int_equal(parse_time("1970-01-01T00:00:01Z", &at), 0);
	assert_int_equal(at.tv_sec, 1);
	assert_int_equal(parse_time("2026-11-21T10:00:00.1234567890123Z", &at), 0);
	assert_int_equal(at.tv_nsec, 123456789);
	assert_int_equal(parse_time("2026-11-21 10:00:00Z", &at), -EINVAL);
	assert_int_equal(parse_time("2026-11-21T10:00:00", &at), -EINVAL);
	assert_int_equal(parse_time("", &at), -EINVAL);
}

static void test_numbers_from_words(void **state _unused_)
{
	uint64_t n = 42;

	assert_int_equal(parse_count("0", 10, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(parse_count("11", 10, &n), -ERANGE);
	assert_int_equal(parse_count("99999999999999999999", UINT64_MAX, &n), -ERANGE);
	assert_int_equal(parse_count("9223372036854775808", UINT64_MAX, &n), -ERANGE);
	assert_int_equal(n, 0);
	assert_int_equal(parse_count("", 10, &n), -EINVAL);
	assert_int_equal(parse_count("+1", 10, &n), -EINVAL);
	assert_int_equal(parse_count(" 1", 10, &n), -EINVAL);
	assert_int_equal(parse_count("1s", 10, &n), -EINVAL);
	assert_int_equal(parse_seconds("2h", &n), 0);
	assert_int_equal(n, 7200);
	assert_int_equal(parse_seconds("7d", &n), 0);
	assert_int_equal(n, 604800);
	assert_int_equal(parse_seconds("1hm", &n), -EINVAL);
	assert_int_equal(parse_seconds("9999999999999999d", &n), -ERANGE);
}

static void assert_limit(const char *text, const char *expected)
{
	json_t *value = parse_limit(text);
	_free_ char *got = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	if (!expected)
		assert_null(got);
	else
		assert_string_equal(got, expected);
}

static void test_limits(void **state _unused_)
{
	assert_limit("100", "100");
	assert_limit("2G", "2147483648");
	assert_limit("1.5", "1.5");
	assert_limit("0.25", "0.25");
	assert_limit("9999999T", NULL);
	assert_limit("1.5G", NULL);
	assert_limit("1.", NULL);
	assert_limit(".5", NULL);
	assert_limit("1e3", NULL);
	assert_limit("nan", NULL);
	assert_limit("-1", NULL);
	assert_limit("", NULL);
}

/* ---- text ---- */

static void assert_text(const struct term *term, const char *text, const char *expected)
{
	_free_ char *safe = term_text(term, text);

	assert_string_equal(safe, expected);
}

static void test_hostile_text(void **state _unused_)
{
	assert_text(&unicode, "plain", "plain");
	assert_text(&unicode, "\033]0;title\007", "\\x1b]0;title\\x07");
	assert_text(&unicode, "a\nb\tc\rd", "a\\nb\\tc\\x0dd");
	assert_text(&unicode, "\x7f", "\\x7f");
	assert_text(&unicode, "\xff\xc3", "\\xff\\xc3");
	/* U+009B is a control sequence introducer of one character; U+202E turns the line around. */
	assert_text(&unicode, "\xc2\x9b", "\\xc2\\x9b");
	assert_text(&unicode, "\xe2\x80\xae", "\\xe2\\x80\\xae");
	assert_text(&unicode, "\xc3\xa9", "\xc3\xa9");
	assert_text(&plain, "\xc3\xa9", "\\xc3\\xa9");
}

static void assert_fit(const struct term *term, const char *text, size_t columns, const char *expected)
{
	struct fit fit = term_fit(term, text, columns);
	char shown[64];

	snprintf(shown, sizeof(shown), "%.*s%s", (int)fit.bytes, text, fit.mark);
	assert_string_equal(shown, expected);
	assert_int_equal(fit.columns, term_columns(shown));
	assert_true(columns == 0 || fit.columns <= columns);
}

static void test_fit(void **state _unused_)
{
	assert_fit(&plain, "session", 0, "session");
	assert_fit(&plain, "session", 7, "session");
	assert_fit(&plain, "session", 6, "sessi~");
	assert_fit(&plain, "session", 1, "~");
	assert_fit(&unicode, "session", 4, "ses\xe2\x80\xa6");
	/* A character of two columns that does not fit stays out as a whole. */
	assert_fit(&unicode, "a\xe4\xb8\xad\xe4\xb8\xad", 3, "a\xe2\x80\xa6");
	assert_fit(&unicode, "\xc3\xa9\xc3\xa9\xc3\xa9", 3, "\xc3\xa9\xc3\xa9\xc3\xa9");
}

/* ---- tables ---- */

static const struct column columns[] = {
	{ "ID", .least = 4 },
	{ "STATE", .state = true },
	{ "AGE", .right = true },
	{ "NOTE", .least = 6 },
	{ 0 },
};

static void assert_table(const struct term *term, const char *expected)
{
	_table_ struct table table;
	_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	table_init(&table, term, columns);
	table_add(&table, "sess-0123456789");
	table_add(&table, "ready");
	table_addf(&table, "%d s", 5);
	table_add(&table, "a note that goes on");
	table_add(&table, "x");
	table_add(&table, "ended");
	table_add(&table, "12 min");
	table_add(&table, NULL);
	assert_int_equal(table_print(&table, out), 0);
	fclose(out);
	assert_string_equal(text, expected);
}

static void test_table(void **state _unused_)
{
	assert_table(&plain, "ID               STATE     AGE  NOTE\n"
			     "sess-0123456789  ready     5 s  a note that goes on\n"
			     "x                ended  12 min  -\n");
}

static void test_narrow_table(void **state _unused_)
{
	const struct term narrow = { .width = 36 }, tiny = { .width = 5 };

	/* The widest goes first; nothing is cut below its least. */
	assert_table(&narrow, "ID         STATE     AGE  NOTE\n"
			      "sess-012~  ready     5 s  a note th~\n"
			      "x          ended  12 min  -\n");
	assert_table(&tiny, "ID    STATE     AGE  NOTE\n"
			    "ses~  ready     5 s  a not~\n"
			    "x     ended  12 min  -\n");
}

static void test_color(void **state _unused_)
{
	_table_ struct table table;
	_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	table_init(&table, &colorful, (const struct column[]){ { "S", .state = true }, { 0 } });
	table_add(&table, "ready");
	table_add(&table, "\033[1m");
	assert_int_equal(table_print(&table, out), 0);
	fclose(out);
	assert_string_equal(text, "\033[1mS\033[0m\n\033[32mready\033[0m\n\\x1b[1m\n");
}

/* ---- errors ---- */

static void assert_failure(const struct failure *why, const char *expected)
{
	_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	failure_print(why, "create", &plain, out);
	fclose(out);
	assert_string_equal(text, expected);
}

static void test_refusal(void **state _unused_)
{
	_failure_ struct failure why = { 0 };

	failure_from(&why,
		json_loads("{\"code\":-32010,\"message\":\"the image is not there\",\"data\":{\"kind\":\"failed\","
			   "\"retryable\":false,\"session\":\"s1\",\"step\":\"rootfs\",\"errno\":\"ENOENT\","
			   "\"log_tail\":\"one\\ntwo\\u001b[1m\\n\"}}",
			0, NULL));
	assert_int_equal(why.code, EXIT_REFUSED);
	assert_failure(&why, "carrel create: the image is not there\n"
			     "  kind     failed\n"
			     "  session  s1\n"
			     "  step     rootfs\n"
			     "  errno    ENOENT (No such file or directory)\n"
			     "  log      | one\n"
			     "           | two\\x1b[1m\n"
			     "  hint     is the image there? `carrel image list`, `carrel image build NAME`\n");
}

static void test_busy(void **state _unused_)
{
	_failure_ struct failure why = { 0 };

	failure_from(
		&why, json_loads("{\"code\":-32005,\"message\":\"too many requests\",\"data\":{\"kind\":\"busy\","
				 "\"retry_after_ms\":250}}",
			      0, NULL));
	assert_failure(&why, "carrel create: too many requests\n"
			     "  kind     busy\n"
			     "  hint     try again in 250 ms\n");
}

static void test_exit_codes(void **state _unused_)
{
	_failure_ struct failure why = { 0 };

	failure_from(
		&why, json_loads("{\"code\":-32008,\"message\":\"x\",\"data\":{\"kind\":\"timeout\"}}", 0, NULL));
	assert_int_equal(why.code, EXIT_TIMED_OUT);
	failure_from(&why, json_loads("{\"code\":-32601,\"message\":\"no such method\"}", 0, NULL));
	assert_int_equal(why.code, EXIT_REFUSED);
	assert_failure(&why,
		"carrel create: no such method\n"
		"  hint     carrel-control may be older than this client: `carrel version` shows both\n");
	assert_int_equal(failure_set(&why, EXIT_USAGE, -EINVAL, "--%s", "x"), -EINVAL);
	assert_int_equal(why.code, EXIT_USAGE);
	assert_failure(&why, "carrel create: --x\n");
	assert_int_equal(failure_set(&why, EXIT_UNREACHABLE, -EACCES, "cannot reach it"), -EACCES);
	failure_add(&why, "step", "connect");
	assert_failure(&why,
		"carrel create: cannot reach it\n"
		"  kind     unreachable\n"
		"  step     connect\n"
		"  errno    EACCES (Permission denied)\n"
		"  hint     the socket belongs to group carrel: `adduser NAME carrel`, then log in again\n");
}

static void test_json_errors(void **state _unused_)
{
	_failure_ struct failure why = { 0 };
	_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	failure_set(&why, EXIT_REFUSED, -EBUSY, "in use");
	failure_print_json(&why, out);
	fclose(out);
	assert_string_equal(text,
		"{\"error\":{\"message\":\"in use\",\"data\":{\"kind\":\"failed\",\"errno\":\"EBUSY\"}},"
		"\"exit_code\":1}\n");
}

static int use_utf8(void **state _unused_)
{
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_numbers_from_words),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_fit),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_narrow_table),
		cmocka_unit_test(test_color),
		cmocka_unit_test(test_refusal),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_json_errors),
	};
	return cmocka_run_group_tests(tests, use_utf8, NULL);
}
