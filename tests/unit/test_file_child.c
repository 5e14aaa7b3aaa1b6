/* SPDX-License-Identifier: Apache-2.0 */
/* A file child by itself, in a directory of the test's: what it does, and what it is told by a hostile control. */
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "sandbox/file_child.h"
#include "wire/spec.h"

struct world {
	int channel;
	pid_t pid;
	uint64_t last_id;
	char directory[32], path[FILES_PATH_SIZE];
	struct msg msg;
	struct files_request request;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int pair[2];

	memcpy(w->directory, "/tmp/test-files-XXXXXX", sizeof("/tmp/test-files-XXXXXX"));
	assert_non_null(mkdtemp(w->directory));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	w->pid = fork();
	if (w->pid == 0) {
		close(pair[0]);
		file_child_serve(pair[1]);
	}
	close(pair[1]);
	w->channel = pair[0];
	*state = w;
	return 0;
}

static const char *at(struct world *w, const char *name)
{
	snprintf(w->path, sizeof(w->path), "%s/%s", w->directory, name);
	return w->path;
}

/* Sends the request that W holds, or a plain one, and takes the answer. */
static const struct files_done *ask(struct world *w, struct msg_header *header, int fd)
{
	struct pollfd wait = { .fd = w->channel, .events = POLLIN };

	header->id = ++w->last_id;
	assert_int_equal(msg_send(w->channel, header, &fd, fd >= 0 ? 1 : 0), 0);
	assert_int_equal(poll(&wait, 1, 30000), 1);
	assert_int_equal(msg_recv(w->channel, files_answers, n_files_answers, &w->msg), 1);
	assert_int_equal(w->msg.header.id, w->last_id);
	return (const void *)w->msg.bytes;
}

static struct files_request *request(struct world *w, enum files_op op, const char *name)
{
	w->request = (struct files_request){ .length = INT64_MAX };
	msg_init(&w->request.header, (uint16_t)op, 0, sizeof(w->request));
	memcpy(w->request.path, at(w, name), sizeof(w->request.path));
	return &w->request;
}

static const struct files_done *done(struct world *w, int fd)
{
	const struct files_done *answer = ask(w, &w->request.header, fd);

	if (answer->err.num < 0)
		fail_msg("%s %s: %s", answer->err.step, answer->err.object, strerror(-answer->err.num));
	return answer;
}

static void refused(struct world *w, int fd, int num)
{
	assert_int_equal(ask(w, &w->request.header, fd)->err.num, num);
}

static const struct files_done *plain(struct world *w, enum files_op op, int fd)
{
	struct files_plain message;

	msg_init(&message.header, (uint16_t)op, 0, sizeof(message));
	return ask(w, &message.header, fd);
}

static int memory(const char *contents)
{
	int fd = memfd_make("test");

	assert_int_equal(pwrite(fd, contents, strlen(contents), 0), strlen(contents));
	return fd;
}

static void write_file(struct world *w, const char *name, const char *contents)
{
	int fd = memory(contents);

	request(w, FILES_WRITE, name)->flags = FILES_PARENTS;
	assert_int_equal(done(w, fd)->n_bytes, strlen(contents));
	close(fd);
}

static void expect_file(struct world *w, const char *name, const char *contents)
{
	char text[128] = "";
	int fd = memory("");

	request(w, FILES_READ, name);
	assert_int_equal(done(w, fd)->n_bytes, strlen(contents));
	assert_true(pread(fd, text, sizeof(text) - 1, 0) >= 0);
	assert_string_equal(text, contents);
	close(fd);
}

/* The child ends with its channel, and by no fault. */
static int teardown(void **state)
{
	struct world *w = *state;
	int status;

	memcpy(w->request.path, w->directory, sizeof(w->directory));
	msg_init(&w->request.header, FILES_DELETE, 0, sizeof(w->request));
	w->request.flags = FILES_RECURSIVE;
	if (w->channel >= 0)
		done(w, -1);
	close_fdp(&w->channel);
	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	assert_int_equal(status, 0);
	rmdir(w->directory);
	free(w);
	return 0;
}

/* ---- requests ---- */

static void test_write_and_read(void **state)
{
	struct world *w = *state;

	write_file(w, "a/b/f", "hello");
	expect_file(w, "a/b/f", "hello");
	write_file(w, "a/b/f", "again");
	expect_file(w, "a/b/f", "again");
	request(w, FILES_STAT, "a/b/f");
	const struct files_done *answer = done(w, -1);
	assert_int_equal(answer->attributes.size, 5);
	assert_int_equal(answer->attributes.mode, S_IFREG | 0644);
	assert_int_equal(answer->attributes.n_links, 1);
}

static void test_refusals(void **state)
{
	struct world *w = *state;
	int fd = memory("x");

	write_file(w, "f", "");
	assert_int_equal(mkfifo(at(w, "fifo"), 0600), 0);
	request(w, FILES_READ, "fifo");
	refused(w, fd, -EOPNOTSUPP);
	request(w, FILES_READ, "none");
	refused(w, fd, -ENOENT);
	request(w, FILES_READ, "");
	refused(w, fd, -EISDIR);
	request(w, FILES_WRITE, "..");
	refused(w, fd, -EINVAL);
	request(w, FILES_WRITE, "f/x");
	refused(w, fd, -ENOTDIR);
	request(w, FILES_LIST, "f");
	refused(w, fd, -ENOTDIR);
	request(w, FILES_MKDIR, "f");
	refused(w, -1, -EEXIST);
	assert_int_equal(plain(w, FILES_TRANSFER, fd)->err.num, -EPROTO);
	assert_int_equal(plain(w, FILES_COMMIT, -1)->err.num, -EPROTO);
	close(fd);
}

static void test_list_in_pages(void **state)
{
	static uint8_t page[FILES_PAGE_BYTES];
	struct world *w = *state;
	char name[32], last[FILES_PATH_SIZE] = "";
	size_t n = 0, pages = 0;
	uint32_t more = 1;

	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "d%d/f%04d", i % 3, i);
		write_file(w, name, "");
	}
	for (; more; pages++) {
		struct files_found found;
		size_t begin = 0;
		int fd = memory("");
		memcpy(request(w, FILES_LIST, "")->other, last, sizeof(last));
		w->request.flags = FILES_RECURSIVE;
		const struct files_done *answer = done(w, fd);
		more = answer->more;
		assert_int_equal(pread(fd, page, sizeof(page), 0), answer->n_bytes);
		while (files_page_next(page, answer->n_bytes, &begin, &found) > 0) {
			assert_true(strcmp(found.path, last) > 0);
			snprintf(last, sizeof(last), "%s", found.path);
			n++;
		}
		close(fd);
	}
	assert_int_equal(n, 1503);
	assert_int_equal(pages, 2);
}

static void test_move_and_delete(void **state)
{
	struct world *w = *state;

	write_file(w, "a/f", "1");
	write_file(w, "a/g", "2");
	request(w, FILES_MOVE, "a/f");
	memcpy(w->request.other, at(w, "a/g"), FILES_PATH_SIZE);
	w->request.flags = FILES_NO_REPLACE;
	refused(w, -1, -EEXIST);
	w->request.flags = 0;
	done(w, -1);
	expect_file(w, "a/g", "1");
	request(w, FILES_DELETE, "a");
	refused(w, -1, -ENOTEMPTY);
	w->request.flags = FILES_RECURSIVE;
	assert_int_equal(done(w, -1)->n_entries, 2);
	request(w, FILES_STAT, "a");
	refused(w, -1, -ENOENT);
}

/* ---- streams ---- */

/* Sends BYTES as a stream and ends it, when the child is about to take it. */
static const struct files_done *send_stream(struct world *w, const void *bytes, size_t n)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(send(pair[0], bytes, n, 0), n); /* little enough for the socket */
	close(pair[0]);
	const struct files_done *answer = plain(w, FILES_TRANSFER, pair[1]);
	close(pair[1]);
	return answer;
}

static size_t take_stream(struct world *w, uint8_t *bytes, size_t size)
{
	size_t n = 0;
	ssize_t got;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	const struct files_done *answer = plain(w, FILES_TRANSFER, pair[1]);
	assert_int_equal(answer->err.num, 0);
	close(pair[1]);
	while ((got = read(pair[0], bytes + n, size - n)) > 0)
		n += (size_t)got;
	assert_int_equal(n, answer->n_bytes);
	close(pair[0]);
	return n;
}

static void test_streams(void **state)
{
	struct world *w = *state;
	uint8_t bytes[16];

	write_file(w, "f", "old");
	request(w, FILES_WRITE, "f")->length = 8;
	done(w, -1);
	assert_int_equal(send_stream(w, "contents", 8)->n_bytes, 8);
	expect_file(w, "f", "old"); /* another request: it was given up */
	request(w, FILES_WRITE, "f")->length = 8;
	done(w, -1);
	send_stream(w, "contents", 8);
	assert_int_equal(plain(w, FILES_COMMIT, -1)->err.num, 0);
	expect_file(w, "f", "contents");
	request(w, FILES_WRITE, "f")->length = 3;
	done(w, -1);
	assert_int_equal(send_stream(w, "contents", 8)->err.num, -EFBIG);
	assert_int_equal(plain(w, FILES_COMMIT, -1)->err.num, -EPROTO);
	request(w, FILES_READ, "f")->offset = 3;
	assert_int_equal(done(w, -1)->n_bytes, 5);
	assert_int_equal(take_stream(w, bytes, sizeof(bytes)), 5);
	assert_memory_equal(bytes, "tents", 5);
}

static void test_archive(void **state)
{
	static uint8_t tar[1 << 16];
	struct world *w = *state;

	write_file(w, "tree/a/f", "contents");
	write_file(w, "tree/g", "");
	assert_int_equal(symlink("a/f", at(w, "tree/l")), 0);
	assert_int_equal(truncate(at(w, "tree/g"), 1000000), 0);
	request(w, FILES_GET, "tree");
	done(w, -1);
	size_t n = take_stream(w, tar, sizeof(tar));
	assert_true(n > 0 && n % 10240 == 0);
	request(w, FILES_PUT, "copy")->flags = FILES_PARENTS;
	done(w, -1);
	const struct files_done *answer = send_stream(w, tar, n);
	assert_int_equal(answer->err.num, 0);
	assert_int_equal(answer->n_entries, 5);
	expect_file(w, "copy/l", "contents");
	request(w, FILES_STAT, "copy/g");
	assert_int_equal(done(w, -1)->attributes.size, 1000000);
	/* Cut anywhere, it is an error, and what is there is whole. */
	for (size_t cut = 0; cut < n - 10240 + 2048; cut += 700) {
		request(w, FILES_PUT, "cut")->flags = FILES_PARENTS;
		done(w, -1);
		answer = send_stream(w, tar, cut);
		assert_true(answer->err.num == -EPIPE || answer->err.num == 0);
	}
	expect_file(w, "copy/l", "contents");
}

/* What a build is made from: asked for NAME with the Dockerfile OTHER. */
static struct files_request *context(struct world *w, const char *name, const char *other)
{
	struct files_request *asked = request(w, FILES_GET, name);

	asked->flags = FILES_CONTEXT;
	snprintf(asked->other, sizeof(asked->other), "%s", other);
	return asked;
}

static void test_context(void **state)
{
	static uint8_t tar[1 << 20];
	struct world *w = *state;

	write_file(w, "tree/.dockerignore", "# all but these\n*\n!keep\n!sub/keep\n");
	write_file(w, "tree/keep", "k");
	write_file(w, "tree/other", "o");
	write_file(w, "tree/sub/keep", "s");
	write_file(w, "tree/sub/other", "o");
	write_file(w, "tree/empty/other", "o");
	write_file(w, "tree/docker/File", "FROM scratch");
	context(w, "tree", "docker/File");
	done(w, -1);
	size_t n = take_stream(w, tar, sizeof(tar));
	request(w, FILES_PUT, "copy")->flags = FILES_PARENTS;
	done(w, -1);
	/* ".", .dockerignore, docker/File, keep, sub/keep. */
	assert_int_equal(send_stream(w, tar, n)->n_entries, 5);
	expect_file(w, "copy/sub/keep", "s");
	expect_file(w, "copy/docker/File", "FROM scratch");
	/* By itself, the archive is of everything. */
	request(w, FILES_GET, "tree");
	done(w, -1);
	assert_true(take_stream(w, tar, sizeof(tar)) > 0);
	/* A link is followed, as everywhere in a path; without a file everything is sent. */
	assert_int_equal(unlink(at(w, "tree/.dockerignore")), 0);
	context(w, "tree", "docker/File");
	done(w, -1);
	write_file(w, "patterns", "docker/[\n");
	assert_int_equal(symlink("../patterns", at(w, "tree/.dockerignore")), 0);
	context(w, "tree", "docker/File");
	const struct files_done *answer = ask(w, &w->request.header, -1);
	assert_int_equal(answer->err.num, -EINVAL);
	assert_string_equal(answer->err.object, ".dockerignore: line 1 is no pattern");
	assert_int_equal(truncate(at(w, "patterns"), IGNORE_MAX_BYTES + 1), 0);
	context(w, "tree", "docker/File");
	refused(w, -1, -E2BIG);
	assert_int_equal(unlink(at(w, "tree/.dockerignore")), 0);
	assert_int_equal(mkfifo(at(w, "tree/.dockerignore"), 0600), 0);
	context(w, "tree", "docker/File");
	refused(w, -1, -EOPNOTSUPP);
	context(w, "tree/keep", "docker/File");
	refused(w, -1, -ENOTDIR);
	context(w, "tree/not", "docker/File");
	refused(w, -1, -ENOENT);
}

/* ---- a hostile control ---- */

static void expect_end(struct world *w)
{
	struct pollfd wait = { .fd = w->channel, .events = POLLIN };
	char byte;

	assert_int_equal(poll(&wait, 1, 30000), 1);
	assert_true(recv(w->channel, &byte, 1, 0) <= 0);
	close_fdp(&w->channel);
}

static void test_malformed(void **state)
{
	struct world *w = *state;

	assert_int_equal(send(w->channel, "rubbish", 7, 0), 7);
	expect_end(w);
}

static void test_path_that_does_not_end(void **state)
{
	struct world *w = *state;

	memset(request(w, FILES_STAT, "")->path, '/', FILES_PATH_SIZE);
	assert_int_equal(msg_send(w->channel, &w->request.header, NULL, 0), 0);
	expect_end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_write_and_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list_in_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_move_and_delete, setup, teardown),
		cmocka_unit_test_setup_teardown(test_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_archive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_context, setup, teardown),
		cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_path_that_does_not_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
