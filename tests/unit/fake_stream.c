/* SPDX-License-Identifier: Apache-2.0 */
/* control/stream.h for tests: a token is a number, and the test comes for it when it likes. */
#include "unit.h"

#include "fake_host.h"

#include <stdio.h>
#include <sys/socket.h>

#include "control/stream.h"

struct stream_offer {
	struct stream_offer *next, **link;
	struct stream_use use;
	unsigned number;
};

int stream_offer(struct call *call, const struct stream_use *use, struct stream_offer **ret)
{
	struct fake_host *host = container_of(call->control, struct fake_host, control);
	struct stream_offer *offer = malloc(sizeof(*offer));

	*offer = (struct stream_offer){
		.next = host->offers, .link = &host->offers, .use = *use, .number = ++host->n_offers
	};
	if (offer->next)
		offer->next->link = &offer->next;
	host->offers = offer;
	*ret = offer;
	return 0;
}

json_t *stream_json(const struct stream_offer *offer)
{
	char token[16];

	snprintf(token, sizeof(token), "%u", offer->number);
	return json_pack("{s:s, s:i}", "token", token, "expires_in_seconds", STREAM_SECONDS);
}

void stream_withdraw(struct stream_offer *offer)
{
	if (!offer)
		return;
	*offer->link = offer->next;
	if (offer->next)
		offer->next->link = offer->link;
	free(offer);
}

/* Takes the offer out that STREAM is about. */
static struct stream_use take(struct fake_host *host, const json_t *stream)
{
	const char *token = json_string_value(json_object_get(stream, "token"));
	struct stream_offer *offer = host->offers;

	assert_non_null(token);
	while (offer && offer->number != strtoul(token, NULL, 10))
		offer = offer->next;
	assert_non_null(offer);
	const struct stream_use use = offer->use;
	stream_withdraw(offer);
	return use;
}

int stream_open(struct fake_host *host, const json_t *stream)
{
	const struct stream_use use = take(host, stream);
	int pair[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), errno);
	use.attach(use.arg, pair[0]);
	return pair[1];
}

void stream_expire(struct fake_host *host, const json_t *stream)
{
	const struct stream_use use = take(host, stream);

	use.gone(use.arg);
}
