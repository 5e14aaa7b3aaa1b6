/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status of an HTTP answer, from bytes that come in pieces from a hostile peer. Nothing past the header is read:
 * some servers keep the connection open whatever they are asked.
 */
#pragma once

#include <http_parser.h>
#include <stdbool.h>

#include "wire/def.h"

enum { HTTP_ANSWER_MAX = 16 * 1024 }; /* bytes of status line and header, interim answers included */

struct http_answer {
	http_parser parser;
	size_t n_bytes;
	bool complete;
};

void http_answer_init(struct http_answer *answer);

/*
 * Takes N more bytes, or the end of file with N 0. The status, 200 or more, once the header is complete; 0 when more
 * is needed; -EPROTO for what is no HTTP answer or ends early, -EMSGSIZE for one past the bound.
 */
int http_answer_feed(struct http_answer *answer, const char *bytes, size_t n);
