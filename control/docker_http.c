/* SPDX-License-Identifier: Apache-2.0 */
#include "control/docker_http.h"

#include <stdio.h>
#include <sys/socket.h>

#include "control/foreign.h"

#define DOCKER_SOCKET "/run/docker.sock"

static void on_socket_ready(struct loop_io *io, uint32_t revents);

void docker_http_cancel(struct docker_http *http)
{
	if (!http->running)
		return;
	requests_forget(&http->link->requests, http);
	loop_remove(http->loop, &http->io);
	foreign_close(steal_fd(&http->io.fd), false);
	buffer_free(&http->out);
	http->running = false;
}

static void finish(struct docker_http *http, int error)
{
	docker_http_cancel(http);
	http->on_done(http, error);
}

/* ---- the answer ---- */

static int on_headers_complete(http_parser *parser)
{
	struct docker_http *http = parser->data;

	/* 1xx: the answer proper follows. */
	if (parser->status_code >= 200)
		http->status = (int)parser->status_code;
	return 0;
}

static int on_body(http_parser *parser, const char *bytes, size_t n)
{
	struct docker_http *http = parser->data;

	http->n_body += n;
	if (http->n_body > DOCKER_MAX_BODY)
		http->failure = -EMSGSIZE;
	if (!http->failure)
		http->on_body(http, bytes, n);
	/* Not zero: the parser stops. */
	return http->failure;
}

static int on_message_complete(http_parser *parser)
{
	struct docker_http *http = parser->data;

	if (http->status) {
		http->complete = true;
		http_parser_pause(parser, 1);
	}
	return 0;
}

static const http_parser_settings settings = {
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* Takes what has come, or the end of file with N 0. 1 when more is to come, 0 at the end, or a negative errno. */
static int feed(struct docker_http *http, const char *bytes, size_t n)
{
	http_parser_execute(&http->parser, &settings, bytes, n);
	if (http->failure)
		return http->failure;
	if (http->complete)
		return 0;
	if (n == 0)
		return -ECONNRESET;
	/* What was switched to another protocol is no answer: nobody asked for that. */
	return HTTP_PARSER_ERRNO(&http->parser) != HPE_OK || http->parser.upgrade ? -EPROTO : 1;
}

/* ---- the socket ---- */

static int watch(struct docker_http *http)
{
	return loop_watch(http->loop, &http->io, EPOLLIN | (buffer_used(&http->out) > 0 ? EPOLLOUT : 0U));
}

/* The file status flags are shared with the session: MSG_DONTWAIT does not depend on them. */
static int flush(struct docker_http *http)
{
	while (buffer_used(&http->out) > 0) {
		ssize_t n = RETRY_EINTR(send(
			http->io.fd, buffer_head(&http->out), buffer_used(&http->out), MSG_DONTWAIT | MSG_NOSIGNAL));
		if (n < 0 && errno == EAGAIN)
			break;
		/* It does not want the rest, and may have said why. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			buffer_consume(&http->out, buffer_used(&http->out));
			break;
		}
		if (n < 0)
			return -errno;
		buffer_consume(&http->out, (size_t)n);
	}
	return watch(http);
}

static void on_socket_ready(struct loop_io *io, uint32_t revents)
{
	struct docker_http *http = container_of(io, struct docker_http, io);
	_uninitialized_ char bytes[65536];
	int r = 1;

	if (revents & EPOLLOUT && buffer_used(&http->out) > 0) {
		r = flush(http);
		if (r < 0) {
			finish(http, r);
			return;
		}
		if (buffer_used(&http->out) == 0 && http->on_drained)
			http->on_drained(http);
	}
	if (!http->running || !(revents & ~(uint32_t)EPOLLOUT))
		return;
	ssize_t n = RETRY_EINTR(recv(io->fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	if (n < 0 && errno == EAGAIN)
		return;
	r = n < 0 ? -errno : feed(http, bytes, (size_t)n);
	if (r <= 0)
		finish(http, r);
}

static void on_connected(void *owner, struct msg *answer)
{
	struct docker_http *http = owner;

	/* The link ended: the session is told so, and cancels what it has under way. */
	if (!answer)
		return;
	const struct init_done *done = (const void *)answer->bytes;
	if (done->err.num < 0) {
		finish(http, done->err.num);
		return;
	}
	http->io.fd = answer->n_fds == 1 ? steal_fd(&answer->fds[0]) : -1;
	int r = foreign_is_unix_stream(http->io.fd) ? flush(http) : -EPROTO;
	if (r < 0)
		finish(http, r);
	else if (buffer_used(&http->out) == 0 && http->on_drained)
		http->on_drained(http);
}

/* ---- the request ---- */

static int put_header(struct docker_http *http, const char *method, const char *target, const char *body)
{
	_free_ char *text = NULL;
	int n;

	/* The answer's end is then the connection's, whatever its header says. */
	if (http->chunked)
		n = asprintf(&text,
			"%s %s HTTP/1.1\r\nHost: docker\r\nUser-Agent: carrel\r\nConnection: close\r\n"
			"Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n",
			method, target);
	else
		n = asprintf(&text,
			"%s %s HTTP/1.1\r\nHost: docker\r\nUser-Agent: carrel\r\nConnection: close\r\n"
			"Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			method, target, body ? strlen(body) : 0, body ? body : "");
	if (n < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return buffer_append(&http->out, text, (size_t)n);
}

int docker_http_chunk(struct docker_http *http, const void *bytes, size_t n)
{
	char size[24];

	int length = snprintf(size, sizeof(size), "%zx\r\n", n);
	int r = buffer_append(&http->out, size, (size_t)length);
	if (r == 0)
		r = buffer_append(&http->out, bytes, n);
	if (r == 0)
		r = buffer_append(&http->out, "\r\n", 2);
	/* Before it is connected it waits. */
	return r == 0 && http->io.fd >= 0 ? watch(http) : r;
}

int docker_http_start(struct docker_http *http, struct loop *loop, struct init_link *link, const char *method,
	const char *target, const char *body, bool chunked)
{
	struct init_connect_path request = { .path = DOCKER_SOCKET };

	http->loop = loop;
	http->link = link;
	http->io = (struct loop_io){ .fd = -1, .fn = on_socket_ready };
	http->chunked = chunked;
	http->complete = false;
	http->n_body = 0;
	http->status = http->failure = 0;
	http->out = (struct buffer){ 0 };
	http_parser_init(&http->parser, HTTP_RESPONSE);
	http->parser.data = http;
	int r = put_header(http, method, target, body);
	msg_init(&request.header, INIT_CONNECT_PATH, 0, sizeof(request));
	if (r == 0)
		r = init_link_send(link, &request.header, NULL, 0, on_connected, http);
	if (r < 0)
		buffer_free(&http->out);
	http->running = r == 0;
	return r;
}

int docker_escape(char *to, size_t size, const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	char escaped[3072];
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (n + 4 > sizeof(escaped))
			return -ENAMETOOLONG;
		if (strchr(plain, *p))
			escaped[n++] = (char)*p;
		else
			n += (size_t)snprintf(escaped + n, 4, "%%%02X", *p);
	}
	if (n >= size)
		return -ENAMETOOLONG;
	memcpy(to, escaped, n);
	to[n] = '\0';
	return 0;
}
