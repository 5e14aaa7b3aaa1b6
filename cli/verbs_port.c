/* SPDX-License-Identifier: Apache-2.0 */
/* carrel port: a port of a session, or a socket in it, as a socket of the host or as standard input and output. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/transfer.h"

enum { BUFFER_SIZE = 1 << 16 };

/* "8080" or "/run/docker.sock" of the session, into PARAMS. False for neither. */
static bool put_target(json_t *params, const char *text)
{
	char *end;

	if (text[0] == '/')
		return json_object_set_new(params, "path", json_string(text)) == 0;
	unsigned long port = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || port < 1 || port > UINT16_MAX)
		return false;
	return json_object_set_new(params, "port", json_integer((json_int_t)port)) == 0;
}

/* "ADDRESS:PORT", either of which may be missing, as the method has it; NULL when the port is no number. */
static json_t *parse_tcp(const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);
	json_t *tcp = json_object();
	char *end;

	if (n > 1 && text[0] == '[' && text[n - 1] == ']')
		json_object_set_new(tcp, "address", json_stringn(text + 1, n - 2));
	else if (n > 0)
		json_object_set_new(tcp, "address", json_stringn(text, n));
	if (!colon || !colon[1])
		return tcp;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (*end || port > UINT16_MAX) {
		json_decref(tcp);
		return NULL;
	}
	json_object_set_new(tcp, "port", json_integer((json_int_t)port));
	return tcp;
}

static enum exit_code publish(struct cli *cli)
{
	const char *tcp = option_text(cli, "tcp");
	json_t *how = tcp ? parse_tcp(tcp) : json_true(), *result = NULL;
	_failure_ struct failure why = { 0 };

	if (!how)
		return cli_fail(cli, EXIT_USAGE, 0, "--tcp %s: ADDRESS:PORT, of which either may be missing", tcp);
	json_object_set_new(cli->params, "as", json_pack("{s:o}", tcp ? "tcp" : "unix", how));
	if (cli_ask(cli, CLIENT_PROMPT_MS, &result, &why) < 0)
		return cli_failed(cli, &why);
	if (cli->json) {
		print_json(cli, result);
	} else {
		print_text(cli, STYLE_PLAIN, text_of(result, tcp ? "url" : "unix"));
		putchar('\n');
	}
	json_decref(result);
	return EXIT_OK;
}

static enum exit_code unpublish(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL;
	json_t *params = json_pack("{s:s, s:s}", "session", cli->words[0], "name", cli->words[1]);

	if (client_ask(cli->socket_path, "port.unpublish", params, CLIENT_PROMPT_MS, &result, &why) < 0)
		return cli_failed(cli, &why);
	json_decref(result);
	return EXIT_OK;
}

/* ---- standard input and output ---- */

/* Connects to stream.sock beside the API socket and shows TOKEN. A descriptor or a negative errno. */
static int open_stream(const char *api_path, const char *token)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *slash = strrchr(api_path, '/');
	const int n = slash ? (int)(slash + 1 - api_path) : 0;
	char line[128];

	if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%.*sstream.sock", n, api_path) >=
		sizeof(address.sun_path))
		return -ENAMETOOLONG;
	snprintf(line, sizeof(line), "{\"token\": \"%s\"}\n", token);
	_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const void *)&address, sizeof(address)) < 0)
		return -errno;
	int r = write_all(fd, line, strlen(line));
	return r < 0 ? r : steal_fd(&fd);
}

/* What there is of IN goes to OUT. Bytes, 0 at the end, or a negative errno. */
static ssize_t move(int in, int out)
{
	char bytes[BUFFER_SIZE];
	ssize_t n = RETRY_EINTR(read(in, bytes, sizeof(bytes)));

	if (n < 0)
		return -errno;
	int r = write_all(out, bytes, (size_t)n);
	return r < 0 ? r : n;
}

/* Both ways, until the other side has ended; the end of our input is told to it. 0 or a negative errno. */
static int talk(int stream)
{
	struct pollfd fds[] = { { .fd = stream, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };

	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[0].revents) {
			ssize_t n = move(stream, STDOUT_FILENO);
			if (n <= 0)
				return (int)n;
		}
		if (fds[1].revents) {
			ssize_t n = move(STDIN_FILENO, stream);
			/* Who takes no more may still have something to say. */
			if (n < 0 && n != -EPIPE)
				return (int)n;
			if (n <= 0) {
				shutdown(stream, SHUT_WR);
				fds[1].fd = -1;
				fds[1].revents = 0;
			}
		}
	}
}

static enum exit_code connect_stdio(struct cli *cli)
{
	_failure_ struct failure why = { 0 };
	json_t *result = NULL;

	if (client_ask(cli->socket_path, "port.connect", json_incref(cli->params), CLIENT_PROMPT_MS, &result, &why) <
		0)
		return cli_failed(cli, &why);
	const char *token = text_of(result, "token");
	_close_ int stream = token ? open_stream(cli->socket_path, token) : -EPROTO;
	json_decref(result);
	int r = stream < 0 ? stream : talk(stream);
	return r < 0 ? cli_fail(cli, EXIT_UNREACHABLE, r, "the connection broke") : EXIT_OK;
}

enum exit_code run_port(struct cli *cli)
{
	if (option_set(cli, "remove"))
		return unpublish(cli);
	json_object_set_new(cli->params, "session", json_string(cli->words[0]));
	if (!put_target(cli->params, cli->words[1]))
		return cli_fail(cli, EXIT_USAGE, 0, "%s: neither a port nor an absolute path", cli->words[1]);
	return option_set(cli, "stdio") ? connect_stdio(cli) : publish(cli);
}
