/* SPDX-License-Identifier: Apache-2.0 */
#include "control/http_answer.h"

static int on_headers_complete(http_parser *parser)
{
	struct http_answer *answer = parser->data;

	/* 1xx: the answer proper follows. */
	if (parser->status_code < 200)
		return 0;
	answer->complete = true;
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings settings = { .on_headers_complete = on_headers_complete };

void http_answer_init(struct http_answer *answer)
{
	*answer = (struct http_answer){ 0 };
	http_parser_init(&answer->parser, HTTP_RESPONSE);
	answer->parser.data = answer;
}

int http_answer_feed(struct http_answer *answer, const char *bytes, size_t n)
{
	if (n == 0)
		return -EPROTO;
	/* Cut to the bound first, so that the cost of one piece is bounded, too. */
	size_t room = HTTP_ANSWER_MAX - answer->n_bytes, taken = n < room ? n : room;
	answer->n_bytes += taken;
	http_parser_execute(&answer->parser, &settings, bytes, taken);
	if (answer->complete)
		return (int)answer->parser.status_code;
	if (HTTP_PARSER_ERRNO(&answer->parser) != HPE_OK || answer->parser.upgrade)
		return -EPROTO;
	return answer->n_bytes == HTTP_ANSWER_MAX ? -EMSGSIZE : 0;
}
