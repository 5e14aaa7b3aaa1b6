/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "wire/output.h"

struct file {
	int fd;
	struct output_header *header;
};

static int setup(void **state)
{
	struct file *f = malloc(sizeof(*f));

	f->fd = memfd_create("test", MFD_CLOEXEC);
	assert_return_code(ftruncate(f->fd, OUTPUT_FILE_BYTES), errno);
	f->header = mmap(NULL, OUTPUT_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	assert_ptr_not_equal(f->header, MAP_FAILED);
	output_format(f->header, OUTPUT_FILE_BYTES);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct file *f = *state;

	munmap(f->header, OUTPUT_FILE_BYTES);
	close(f->fd);
	free(f);
	return 0;
}

static void append(struct file *f, const char *s)
{
	output_append(f->header, OUTPUT_STDOUT, 42, s, strlen(s));
}

static void test_empty(void **state)
{
	struct file *f = *state;
	struct output_state st;
	struct output_record record;
	uint8_t data[OUTPUT_MAX_RECORD];
	uint64_t position = 0, skipped = 7;

	assert_int_equal(output_read_state(f->fd, &st), 0);
	assert_int_equal(st.head, 0);
	assert_int_equal(st.workload, WORKLOAD_NONE);
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), 0);
	assert_int_equal(position, 0);
	assert_int_equal(skipped, 7); /* untouched */
}

static void test_records(void **state)
{
	struct file *f = *state;
	struct output_record record;
	uint8_t data[OUTPUT_MAX_RECORD];
	uint64_t position = 0, skipped;

	append(f, "one");
	output_append(f->header, OUTPUT_STDERR, 43, "12345678", 8);
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), 1);
	assert_int_equal(record.length, 3);
	assert_int_equal(record.stream, OUTPUT_STDOUT);
	assert_int_equal(record.realtime_ns, 42);
	assert_memory_equal(data, "one", 3);
	assert_int_equal(skipped, 0);
	assert_int_equal(position, 24);
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), 1);
	assert_int_equal(record.stream, OUTPUT_STDERR);
	assert_memory_equal(data, "12345678", 8);
	assert_int_equal(position, 48);
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), 0);
}

static void test_long_data_is_cut(void **state)
{
	struct file *f = *state;
	struct output_record record;
	uint8_t data[OUTPUT_MAX_RECORD], big[2 * OUTPUT_MAX_RECORD + 5];
	uint64_t position = 0, skipped;
	const uint32_t lengths[] = { OUTPUT_MAX_RECORD, OUTPUT_MAX_RECORD, 5 };

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7);
	output_append(f->header, OUTPUT_STDOUT, 1, big, sizeof(big));
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), 1);
		assert_int_equal(record.length, lengths[i]);
		assert_memory_equal(data, big + i * OUTPUT_MAX_RECORD, lengths[i]);
	}
	output_append(f->header, OUTPUT_STDOUT, 1, big, 0);
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), 0);
}

/* Many times around: every record that is still there reads back whole, and what is gone is counted. */
static void test_wraps(void **state)
{
	struct file *f = *state;
	struct output_record record;
	uint8_t data[OUTPUT_MAX_RECORD];
	uint64_t position = 0, skipped, written = 0, read_back = 0, total_skipped = 0;
	unsigned int expected = 0, records = 0;

	for (unsigned int i = 0; i < 5000; i++) {
		uint8_t bytes[1200];
		size_t n = 4 + i * 31 % 1100;
		memset(bytes, (int)(i & 0xff), sizeof(bytes));
		memcpy(bytes, &i, sizeof(i));
		output_append(f->header, OUTPUT_STDOUT, i, bytes, n);
		written += n;
	}
	struct output_state st;
	assert_int_equal(output_read_state(f->fd, &st), 0);
	assert_true(st.head > 10 * st.ring_bytes);
	assert_true(st.head - st.tail <= st.ring_bytes);
	assert_true(st.head - st.tail > st.ring_bytes - OUTPUT_MAX_RECORD);
	while (output_read(f->fd, &position, &record, data, &skipped) == 1) {
		unsigned int i;
		memcpy(&i, data, sizeof(i));
		assert_int_equal(record.realtime_ns, i);
		assert_int_equal(record.length, 4 + i * 31 % 1100);
		assert_true(records == 0 || i == expected);
		assert_int_equal(data[record.length - 1], record.length > 4 ? (i & 0xff) : data[3]);
		expected = i + 1;
		read_back += record.length;
		total_skipped += skipped;
		records++;
	}
	assert_int_equal(expected, 5000);
	assert_int_equal(total_skipped, st.tail);
	assert_int_equal(st.dropped_bytes, written - read_back);
	assert_int_equal(position, st.head);
}

/* A writer at full speed in another process: a reader gets whole records, in order, or nothing. */
static void test_concurrent(void **state)
{
	struct file *f = *state;
	struct output_record record;
	uint8_t data[OUTPUT_MAX_RECORD];
	uint64_t position = 0, skipped, n_read = 0;
	struct output_state st;

	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		uint64_t words[80];
		for (uint64_t i = 1; i <= 60000; i++) {
			for (size_t w = 0; w < ARRAY_SIZE(words); w++)
				words[w] = i;
			output_append(f->header, OUTPUT_STDOUT, i, words, 8 * (i % ARRAY_SIZE(words) + 1));
		}
		f->header->exit_code = 3;
		atomic_store_explicit(&f->header->workload, WORKLOAD_EXITED, memory_order_release);
		_exit(0);
	}
	uint64_t last = 0;
	do {
		assert_int_equal(output_read_state(f->fd, &st), 0);
		int r;
		while ((r = output_read(f->fd, &position, &record, data, &skipped)) == 1) {
			uint64_t words[80];
			assert_true(record.length <= sizeof(words));
			memcpy(words, data, record.length);
			assert_true(record.realtime_ns > last);
			assert_int_equal(record.length, 8 * (record.realtime_ns % ARRAY_SIZE(words) + 1));
			for (size_t w = 0; w < record.length / 8; w++)
				assert_int_equal(words[w], record.realtime_ns);
			last = record.realtime_ns;
			n_read++;
		}
		assert_int_equal(r, 0);
	} while (st.workload != WORKLOAD_EXITED || position < st.head);
	assert_int_equal(st.exit_code, 3);
	assert_int_equal(last, 60000);
	assert_true(n_read > 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_end(void **state)
{
	struct file *f = *state;
	struct output_state st;

	f->header->signal = 9;
	f->header->ended_realtime_ns = 77;
	atomic_store(&f->header->workload, WORKLOAD_SIGNALED);
	assert_int_equal(output_read_state(f->fd, &st), 0);
	assert_int_equal(st.workload, WORKLOAD_SIGNALED);
	assert_int_equal(st.signal, 9);
	assert_int_equal(st.ended_realtime_ns, 77);
}

static void test_hostile_header(void **state)
{
	struct file *f = *state;
	struct output_state st;
	struct output_record record;
	uint8_t data[OUTPUT_MAX_RECORD];
	uint64_t position = 0, skipped;

	append(f, "one");
	append(f, "two");
	const struct output_header good = *f->header;
#define REFUSES(change)                                                                            \
	do {                                                                                       \
		memcpy(f->header, &good, sizeof(good));                                            \
		change;                                                                            \
		assert_int_equal(output_read_state(f->fd, &st), -EPROTO);                          \
		assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), -EPROTO); \
	} while (0)
	REFUSES(f->header->magic++);
	REFUSES(f->header->version++);
	REFUSES(f->header->ring_bytes = 0);
	REFUSES(f->header->ring_bytes--);
	REFUSES(f->header->ring_bytes += 8);
	REFUSES(f->header->ring_bytes = UINT64_MAX - 7);
	REFUSES(f->header->head = 4);
	REFUSES(f->header->tail = 4);
	REFUSES(f->header->tail = f->header->head + 8);
	REFUSES(f->header->head = f->header->ring_bytes + 8);
	REFUSES(f->header->head = UINT64_MAX - 7; f->header->tail = f->header->head - 8);
	REFUSES(f->header->workload = 99);
	REFUSES(f->header->exit_code = -1);
	REFUSES(f->header->exit_code = 256);
	REFUSES(f->header->signal = 65);
	assert_int_equal(position, 0);

	assert_return_code(ftruncate(f->fd, sizeof(good) - 1), errno);
	assert_int_equal(output_read_state(f->fd, &st), -EPROTO);
}

static void test_hostile_records(void **state)
{
	struct file *f = *state;
	struct output_record record, *first = (void *)(f->header + 1);
	uint8_t data[OUTPUT_MAX_RECORD];
	uint64_t position = 0, skipped;

	append(f, "one");
#undef REFUSES
#define REFUSES(member, value)                                                                     \
	do {                                                                                       \
		const struct output_record kept = *first;                                          \
		first->member = value;                                                             \
		assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), -EPROTO); \
		*first = kept;                                                                     \
	} while (0)
	REFUSES(length, 0);
	REFUSES(length, 9); /* past the head */
	REFUSES(length, OUTPUT_MAX_RECORD + 1);
	REFUSES(length, UINT32_MAX);
	REFUSES(stream, 0);
	REFUSES(stream, OUTPUT_INIT + 1);
	f->header->head = 8; /* half a record */
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), -EPROTO);
	f->header->head = 24;
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), 1);

	position = 48; /* ahead of the writer, who must have started anew */
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), -EPROTO);
	position = 3;
	assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), -EPROTO);
}

/* Rubbish in the ring does not lead the writer astray: what it writes next can be read. */
static void test_writer_survives(void **state)
{
	struct file *f = *state;
	struct output_record record;
	uint8_t data[OUTPUT_MAX_RECORD];
	const int rubbish[] = { 0xff, 0x00, 0x41 };

	for (size_t i = 0; i < ARRAY_SIZE(rubbish); i++) {
		uint64_t position = f->header->ring_bytes, skipped;
		memset(f->header + 1, rubbish[i], OUTPUT_FILE_BYTES - sizeof(*f->header));
		f->header->tail = 0;
		f->header->head = f->header->ring_bytes;
		append(f, "one");
		assert_int_equal(output_read(f->fd, &position, &record, data, &skipped), 1);
		assert_memory_equal(data, "one", 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_data_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wraps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_concurrent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writer_survives, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
