/* SPDX-License-Identifier: Apache-2.0 */
#include "control/requests.h"

struct request {
	struct request *next;
	uint64_t id;
	uint16_t op;
	answer_fn *fn; /* NULL: forgotten */
	void *owner;
};

void requests_init(struct requests *requests)
{
	uint64_t now = boottime_ns();

	*requests = (struct requests){ .first_id = now, .last_id = now, .tail = &requests->head };
}

/* Takes out the request that AT points to. */
static struct request *take(struct requests *requests, struct request **at)
{
	struct request *request = *at;

	*at = request->next;
	if (!*at)
		requests->tail = at;
	return request;
}

int requests_send(struct requests *requests, struct chan *chan, struct msg_header *header, const int *fds,
	size_t n_fds, answer_fn *fn, void *owner)
{
	_free_ struct request *request = malloc(sizeof(*request));

	if (!request)
		return -ENOMEM;
	header->id = ++requests->last_id;
	*request = (struct request){ .id = header->id, .op = header->op, .fn = fn, .owner = owner };
	int r = chan_send(chan, header, fds, n_fds);
	if (r < 0)
		return r;
	*requests->tail = request;
	requests->tail = &request->next;
	steal_ptr(&request);
	return 0;
}

int requests_answer(struct requests *requests, struct msg *answer)
{
	for (struct request **at = &requests->head; *at; at = &(*at)->next) {
		if ((*at)->id != answer->header.id)
			continue;
		if (((*at)->op | MSG_REPLY) != answer->header.op)
			return -EPROTO;
		_free_ struct request *request = take(requests, at);
		if (request->fn)
			request->fn(request->owner, answer);
		return 0;
	}
	return answer->header.id <= requests->first_id ? 0 : -EPROTO;
}

void requests_forget(struct requests *requests, const void *owner)
{
	for (struct request *request = requests->head; request; request = request->next)
		if (request->owner == owner)
			request->fn = NULL;
}

void requests_end(struct requests *requests)
{
	/* One at a time: a function may forget others. */
	while (requests->head) {
		_free_ struct request *request = take(requests, &requests->head);
		if (request->fn)
			request->fn(request->owner, NULL);
	}
}
