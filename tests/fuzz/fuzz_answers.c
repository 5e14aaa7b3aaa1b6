/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the checks of what control hears let through can be read: strings end, counts fit, numbers are in range. */
#include "wire/init.h"
#include "wire/super.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void need(int condition)
{
	if (!condition)
		abort();
}

static void need_err(const struct err *err)
{
	char text[sizeof(*err) + 64];

	need(err->num <= 0);
	need(strlen(err_text(err, text, sizeof(text))) < sizeof(text));
}

static void read_super(const void *msg)
{
	const struct super_created *created = msg;
	const struct super_checked *checked = msg;
	const struct super_ev_session *session = msg;

	switch (((const struct msg_header *)msg)->op) {
	case SUPER_CREATE | MSG_REPLY:
		need_err(&created->err);
		need(created->n_steps <= MAX_STEP_TIMES);
		for (size_t i = 0; i < created->n_steps; i++)
			need(strlen(created->steps[i].name) < STEP_NAME_SIZE);
		break;
	case SUPER_CHECK | MSG_REPLY:
		need(checked->n_items <= MAX_CHECK_ITEMS);
		for (size_t i = 0; i < checked->n_items; i++)
			need(strlen(checked->items[i].name) < 32 && strlen(checked->items[i].remedy) < 160);
		break;
	case SUPER_EV_SESSION:
		need(name_is_valid(session->id) && name_is_valid(session->template));
		break;
	case SUPER_EV_EXITED:
	case SUPER_EV_GONE:
		need(name_is_valid(((const struct super_session *)msg)->id));
		break;
	case SUPER_SET_LIMITS | MSG_REPLY:
		need_err(&((const struct super_limits_set *)msg)->err);
		break;
	default:
		need_err(&((const struct super_done *)msg)->err);
	}
}

static void read_init(const void *msg)
{
	const struct msg_header *header = msg;

	if (header->op == (INIT_EXEC | MSG_REPLY))
		need_err(&((const struct init_started *)msg)->err);
	else if (header->op & MSG_REPLY)
		need_err(&((const struct init_done *)msg)->err);
}

/* First byte: whose answer it is and with how many descriptors. The length is put right, so that more gets through. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct msg msg;

	if (n < 1 + sizeof(msg.header) || n - 1 > sizeof(msg.bytes))
		return 0;
	memcpy(msg.bytes, data + 1, n - 1);
	msg.header.version = MSG_VERSION;
	if (data[0] & 0x80)
		msg.header.length = (uint32_t)n - 1;
	size_t n_fds = data[0] & 7;
	if (data[0] & 0x40) {
		if (msg_check(msg.bytes, n - 1, n_fds, super_answers, n_super_answers) == 0)
			read_super(msg.bytes);
	} else if (msg_check(msg.bytes, n - 1, n_fds, init_answers, n_init_answers) == 0) {
		read_init(msg.bytes);
	}
	return 0;
}
