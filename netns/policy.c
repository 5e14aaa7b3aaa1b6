/* SPDX-License-Identifier: Apache-2.0 */
#include "netns/policy.h"

#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

/* policy.nft, the rules themselves. */
static const char policy[] =
#include "netns/policy.nft.h"
	;

enum { TEXT_SIZE = sizeof(policy) + 2048 };

struct text {
	size_t size; /* TEXT_SIZE once something did not fit */
	char bytes[TEXT_SIZE];
};

static void append(struct text *text, const char *format, ...) _printf_(2, 3);

static void append(struct text *text, const char *format, ...)
{
	size_t left = TEXT_SIZE - text->size;
	va_list ap;
	va_start(ap, format);
	int n = vsnprintf(text->bytes + text->size, left, format, ap);
	va_end(ap);
	text->size = n < 0 || (size_t)n >= left ? TEXT_SIZE : text->size + (size_t)n;
}

/*
 * The context's socket belongs to the network namespace it is made in, so each run has its own. It is the one
 * descriptor that is not CLOEXEC; nothing is executed while it is open. Where the library cannot open it, it ends the
 * process; so we see first whether it could.
 */
static int run(const struct text *text, const char *step, struct err *err)
{
	if (text->size == TEXT_SIZE)
		return err_set(err, -E2BIG, step, "rules");
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		return err_set(err, -errno, step, "socket");
	close_fd(fd);
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!nft)
		return err_set(err, -ENOMEM, step, "nftables");
	int r = 0;
	if (nft_ctx_buffer_output(nft) != 0 || nft_ctx_buffer_error(nft) != 0)
		r = err_set(err, -ENOMEM, step, "nftables");
	else if (nft_run_cmd_from_buffer(nft, text->bytes) != 0) {
		/* The library says in words alone what went wrong. */
		const char *words = nft_ctx_get_error_buffer(nft);
		r = err_set(err, -EPROTO, step, "%.*s", (int)strcspn(words, "\n"), words);
	}
	nft_ctx_free(nft);
	return r;
}

int policy_load(const struct netns_config *config, struct err *err)
{
	struct text text = { 0 };

	append(&text, "define base = %u\n", NETNS_GROUP_BASE);
	append(&text, "define spare = %u\n", NETNS_GROUP_BASE + NETNS_SPARE);
	append(&text, "define internet = %u\n", NETNS_GROUP_BASE + NETNS_INTERNET);
	append(&text, "%s", policy);
	append(&text, "add element inet carrel users { 0, %u", config->allowed_uid);
	for (size_t i = 0; i < config->n_uids; i++)
		append(&text, ", %u", config->uids[i]);
	append(&text, " }\n");
	for (size_t i = 0; i < config->n_gids; i++)
		append(&text, "%s%u", i > 0 ? ", " : "add element inet carrel groups { ", config->gids[i]);
	append(&text, config->n_gids > 0 ? " }\n" : "");
	return run(&text, "policy", err);
}

/* Adding it first makes it no error that it is not there. */
int policy_unload(struct err *err)
{
	struct text text = { 0 };
	append(&text, "add table inet carrel\n"
		      "delete table inet carrel\n");
	return run(&text, "policy removal", err);
}

int policy_redirect(const uint16_t *ports, size_t n_ports, struct err *err)
{
	struct text text = { 0 };

	append(&text, "table ip carrel {\n"
		      "	chain loopback {\n"
		      "		type nat hook prerouting priority dstnat\n"
		      "		iifname eth0 tcp dport {");
	for (size_t i = 0; i < n_ports; i++)
		append(&text, "%s %u", i > 0 ? "," : "", ports[i]);
	append(&text, " } dnat to 127.0.0.1\n"
		      "	}\n"
		      "}\n");
	return run(&text, "redirect", err);
}
