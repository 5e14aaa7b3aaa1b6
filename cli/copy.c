/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrel cp: files and trees into sessions and out of them. A file appears under its name when it is complete, on
 * either side. A tree travels as a tar; standard input and output are tars, too.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cli/pack.h"
#include "cli/remote.h"

enum {
	NEW_DIRECTORY = 0777,
	NEW_FILE = 0666,
	SEND_BYTES = 8 << 20,
	SEND_BUFFER = 1 << 20, /* of a stream: the larger, the fewer times both sides wake each other */
};

struct copy {
	struct cli *cli;
	struct client *client;
	struct place from, to;
	bool into; /* TO must be a directory: there is more than one source */
	struct transfer transfer;
	struct skipped skipped;
	struct failure *why;
};

static void begin_transfer(struct copy *copy, const char *name, json_int_t total)
{
	transfer_begin(
		&copy->transfer, copy->cli->json ? NULL : &copy->cli->err, name, total > 0 ? (uint64_t)total : 0);
}

static int local_failure(struct copy *copy, int num, const char *what, const char *path)
{
	return failure_set(copy->why, EXIT_REFUSED, num, "cannot %s %s", what, path);
}

/* What the other side says of a stream that broke says more than that it broke. SENT as for remote_wait(). */
static int ask_why(struct copy *copy, const struct remote_transfer *stream, json_int_t sent, int r)
{
	struct failure reason = { 0 };

	if (r != -EPIPE && r != -ECONNRESET)
		return r;
	int asked = remote_wait(copy->client, stream, sent, NULL, &reason);
	if (asked < 0) {
		failure_free(copy->why);
		*copy->why = reason;
		return asked;
	}
	return r;
}

static void note_skipped(struct copy *copy, const json_t *outcome)
{
	const char *first = text_of(outcome, "first_skipped");

	copy->skipped.n = (unsigned int)json_integer_value(json_object_get(outcome, "skipped"));
	snprintf(copy->skipped.first, sizeof(copy->skipped.first), "%.255s", first ? first : "");
}

static void warn_skipped(const struct copy *copy)
{
	_free_ char *safe = term_text(&copy->cli->err, copy->skipped.first);

	if (copy->skipped.n > 0)
		fprintf(stderr, "carrel cp: left out, for it is no file, directory or link: %s%s\n", safe ? safe : "",
			copy->skipped.n > 1 ? ", and others" : "");
}

/* ---- out of a session ---- */

/* A new file beside PATH without a name, or with one that nobody has. RET_NAME: the name, to be freed, or NULL. */
static int open_beside(const char *path, char **ret_name)
{
	const char *slash = strrchr(path, '/');
	_free_ char *dir = slash == path ? strdup("/") : slash ? strndup(path, (size_t)(slash - path)) : strdup(".");

	if (!dir)
		return -ENOMEM;
	int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, NEW_FILE);
	*ret_name = NULL;
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd >= 0 ? fd : -errno;
	if (asprintf(ret_name, "%s/.carrel-XXXXXX", dir) < 0)
		return -ENOMEM;
	fd = mkostemp(*ret_name, O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

/* Gives FD, which is complete, the name PATH in place of what has it. NAME is the one that it has, or NULL. */
static int give_name(int fd, const char *name, const char *path)
{
	char self[64];
	_free_ char *spare = NULL;

	if (name)
		return rename(name, path) < 0 ? -errno : 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	/* There is no link that replaces: through a name of its own. */
	if (asprintf(&spare, "%s.carrel-%d", path, (int)getpid()) < 0)
		return -ENOMEM;
	if (linkat(AT_FDCWD, self, AT_FDCWD, spare, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	if (rename(spare, path) == 0)
		return 0;
	int num = -errno;
	unlink(spare);
	return num;
}

/* All of the stream into FD; and then that it was all. */
static int receive(struct copy *copy, const struct remote_transfer *stream, int fd)
{
	json_t *outcome = NULL;
	int r = transfer_all(&copy->transfer, stream->fd, fd);

	if (r < 0)
		return ask_why(copy, stream, -1, local_failure(copy, r, "receive", copy->from.path));
	r = remote_wait(copy->client, stream, -1, &outcome, copy->why);
	const json_t *size = json_object_get(outcome, "size_bytes");
	if (r == 0 && json_is_integer(size) && (uint64_t)json_integer_value(size) != copy->transfer.bytes)
		r = local_failure(copy, -EIO, "receive all of", copy->from.path);
	json_decref(outcome);
	return r;
}

/* What is no regular file, as a terminal or a pipe, is written to and not replaced. */
static bool is_replaced(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 || S_ISREG(st.st_mode);
}

static int get_file(struct copy *copy, const char *target, const json_t *found)
{
	_remote_ struct remote_transfer stream = { .fd = -1 };
	json_t *params = place_params(&copy->from);
	const char *mode_text = text_of(found, "mode");
	mode_t mode = mode_text ? (mode_t)strtoul(mode_text, NULL, 8) & 0777 : NEW_FILE, mask = umask(0);
	_free_ char *name = NULL;
	bool replaced = is_replaced(target);

	umask(mask);
	json_object_set_new(params, "stream", json_true());
	int r = remote_open(&stream, copy->cli, copy->client, "file.read", params, copy->why);
	if (r < 0)
		return r;
	_close_ int fd = replaced ? open_beside(target, &name) : open(target, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return local_failure(copy, replaced ? fd : -errno, "write", target);
	begin_transfer(copy, copy->from.path, json_integer_value(json_object_get(found, "size_bytes")));
	r = receive(copy, &stream, fd);
	if (r == 0 && replaced && fchmod(fd, mode & ~mask) < 0)
		r = local_failure(copy, -errno, "set the mode of", target);
	if (r == 0 && replaced) {
		int num = give_name(fd, name, target);
		r = num < 0 ? local_failure(copy, num, "write", target) : 0;
	}
	if (r < 0 && name)
		unlink(name);
	return r;
}

/* Opens the directory PATH, made when it is not there. */
static int open_directory(struct copy *copy, const char *path)
{
	if (mkdir(path, NEW_DIRECTORY) < 0 && errno != EEXIST)
		return local_failure(copy, -errno, "make", path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 ? fd : local_failure(copy, -errno, "open", path);
}

static int get_tree(struct copy *copy, const char *target)
{
	_remote_ struct remote_transfer stream = { .fd = -1 };
	json_t *outcome = NULL;
	int r = remote_open(&stream, copy->cli, copy->client, "archive.get", place_params(&copy->from), copy->why);

	if (r < 0)
		return r;
	_close_ int dir = open_directory(copy, target);
	if (dir < 0)
		return dir;
	begin_transfer(copy, copy->from.path, 0);
	r = unpack_tree(stream.fd, dir, &copy->transfer, &copy->skipped, copy->why);
	if (r < 0)
		return ask_why(copy, &stream, -1, r);
	r = remote_wait(copy->client, &stream, -1, &outcome, copy->why);
	if (r == 0 && copy->skipped.n == 0)
		note_skipped(copy, outcome);
	json_decref(outcome);
	return r;
}

static int get_tar(struct copy *copy)
{
	_remote_ struct remote_transfer stream = { .fd = -1 };
	int r = remote_open(&stream, copy->cli, copy->client, "archive.get", place_params(&copy->from), copy->why);

	if (r < 0)
		return r;
	begin_transfer(copy, copy->from.path, 0);
	return receive(copy, &stream, STDOUT_FILENO);
}

static int copy_out(struct copy *copy)
{
	const char *name = last_part(copy->from.path);
	char target[PATH_MAX];
	json_t *found = NULL;
	struct stat st;

	if (streq(copy->to.path, "-"))
		return get_tar(copy);
	int r = remote_stat(copy->client, &copy->from, &found, copy->why);
	if (r < 0)
		return r;
	if (!found)
		return failure_set(copy->why, EXIT_REFUSED, -ENOENT, "there is no %s in session %s", copy->from.path,
			copy->from.session);
	const char *type = text_of(found, "type");
	bool is_tree = type && streq(type, "directory");
	bool inside = stat(copy->to.path, &st) == 0 && S_ISDIR(st.st_mode);
	memcpy(target, copy->to.path, sizeof(target));
	if (copy->into && !inside)
		r = local_failure(copy, -ENOTDIR, "copy several into", copy->to.path);
	if (r == 0 && inside && *name)
		r = path_append(target, name, copy->why);
	if (r == 0)
		r = is_tree ? get_tree(copy, target) : get_file(copy, target, found);
	json_decref(found);
	return r;
}

/* ---- into a session ---- */

/* All of FD into the stream, without a copy in this process where the kernel can. */
static int send_all(struct copy *copy, int fd, int stream)
{
	for (;;) {
		ssize_t n = RETRY_EINTR(sendfile(stream, fd, NULL, SEND_BYTES));
		if (n < 0 && errno == EINVAL && copy->transfer.bytes == 0)
			return transfer_all(&copy->transfer, fd, stream);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		transfer_add(&copy->transfer, (uint64_t)n);
	}
}

/* The end of what is sent, and what became of it. SENT as for remote_wait(). */
static int end_sending(struct copy *copy, const struct remote_transfer *stream, json_int_t sent)
{
	json_t *outcome = NULL;

	/* One that is gone already has an outcome that says why. */
	shutdown(stream->fd, SHUT_WR);
	int r = remote_wait(copy->client, stream, sent, &outcome, copy->why);
	if (r == 0 && copy->skipped.n == 0)
		note_skipped(copy, outcome);
	json_decref(outcome);
	return r;
}

static int put_file(struct copy *copy, const struct place *target, int fd, const struct stat *st)
{
	_remote_ struct remote_transfer stream = { .fd = -1 };
	json_t *params = place_params(target);
	const int size = SEND_BUFFER;
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", (unsigned int)(S_ISREG(st->st_mode) ? st->st_mode & 0777 : 0644));
	json_object_set_new(params, "stream", json_true());
	json_object_set_new(params, "mode", json_string(mode));
	int r = remote_open(&stream, copy->cli, copy->client, "file.write", params, copy->why);
	if (r < 0)
		return r;
	setsockopt(stream.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	begin_transfer(copy, copy->from.path, S_ISREG(st->st_mode) ? st->st_size : 0);
	r = send_all(copy, fd, stream.fd);
	if (r < 0)
		return ask_why(copy, &stream, (json_int_t)copy->transfer.bytes,
			local_failure(copy, r, "send", copy->from.path));
	return end_sending(copy, &stream, (json_int_t)copy->transfer.bytes);
}

/* A tar into the directory TARGET; from FD, or (-1) of the tree that is copied. */
static int put_tar(struct copy *copy, const struct place *target, int fd)
{
	_remote_ struct remote_transfer stream = { .fd = -1 };
	json_t *params = place_params(target);

	json_object_set_new(params, "create_parents", json_true());
	int r = remote_open(&stream, copy->cli, copy->client, "archive.put", params, copy->why);
	if (r < 0)
		return r;
	begin_transfer(copy, copy->from.path, 0);
	if (fd < 0) {
		r = pack_tree(copy->from.path, stream.fd, &copy->transfer, &copy->skipped, copy->why);
	} else {
		r = transfer_all(&copy->transfer, fd, stream.fd);
		if (r < 0)
			local_failure(copy, r, "send", "standard input");
	}
	return r < 0 ? ask_why(copy, &stream, -1, r) : end_sending(copy, &stream, -1);
}

/* Where it goes: TO, or below it when that is a directory. */
static int choose_target(struct copy *copy, struct place *ret)
{
	const char *name = last_part(copy->from.path);
	json_t *found = NULL;

	*ret = copy->to;
	int r = remote_stat(copy->client, &copy->to, &found, copy->why);
	if (r < 0)
		return r;
	const char *type = text_of(found, "type");
	bool inside = type && streq(type, "directory");
	json_decref(found);
	if (copy->into && !inside)
		return failure_set(copy->why, EXIT_REFUSED, -ENOTDIR, "cannot copy several into %s", copy->to.path);
	return inside && *name ? path_append(ret->path, name, copy->why) : 0;
}

static int copy_in(struct copy *copy)
{
	struct place target;
	struct stat st;

	if (streq(copy->from.path, "-"))
		return put_tar(copy, &copy->to, STDIN_FILENO);
	_close_ int fd = open(copy->from.path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return local_failure(copy, -errno, "read", copy->from.path);
	int r = choose_target(copy, &target);
	if (r < 0)
		return r;
	return S_ISDIR(st.st_mode) ? put_tar(copy, &target, -1) : put_file(copy, &target, fd, &st);
}

/* ---- the verb ---- */

static int copy_one(struct copy *copy, const char *word)
{
	int r = place_parse(word, &copy->from, copy->why);

	if (r < 0)
		return r;
	if (place_is_remote(&copy->from) == place_is_remote(&copy->to))
		return failure_set(copy->why, EXIT_USAGE, -EINVAL,
			"one side is SESSION:PATH and the other is here: \"%s\" is not; ./%s is a file with a colon",
			word, word);
	copy->transfer = (struct transfer){ 0 };
	copy->skipped = (struct skipped){ 0 };
	r = place_is_remote(&copy->from) ? copy_out(copy) : copy_in(copy);
	transfer_end(&copy->transfer);
	if (r == 0)
		warn_skipped(copy);
	return r;
}

enum exit_code run_cp(struct cli *cli)
{
	_client_ struct client client = { .fd = -1 };
	_failure_ struct failure why = { 0 };
	struct copy copy = { .cli = cli, .client = &client, .into = cli->n_words > 2, .why = &why };
	json_t *done = json_array();
	enum exit_code code = EXIT_OK;

	/* A stream that breaks is an error with a reason. */
	signal(SIGPIPE, SIG_IGN);
	int r = place_parse(cli->words[cli->n_words - 1], &copy.to, &why);
	if (r == 0)
		r = client_open(&client, cli->socket_path, &why);
	for (size_t i = 0; r == 0 && i + 1 < cli->n_words; i++) {
		r = copy_one(&copy, cli->words[i]);
		json_array_append_new(done, json_pack("{ss, sI, si}", "from", cli->words[i], "bytes",
						    (json_int_t)copy.transfer.bytes, "skipped", (int)copy.skipped.n));
	}
	if (r < 0)
		code = cli_failed(cli, &why);
	else if (cli->json && !streq(copy.to.path, "-"))
		print_json(cli, done);
	json_decref(done);
	return code;
}
