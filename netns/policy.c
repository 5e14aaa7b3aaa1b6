/* SPDX-License-Identifier: Apache-2.0 */
#include "netns/policy.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>

enum { BURST_BYTES = 128 * 1024 }; /* so that the largest packet passes at any rate: a veth's are up to 64 KiB */

/* policy.nft, the rules themselves. */
static const char policy[] =
#include "netns/policy.nft.h"
	;

/*
 * The context's socket belongs to the network namespace it is made in, so each run has its own. It is the one
 * descriptor that is not CLOEXEC; nothing is executed while it is open. Where the library cannot open it, it ends the
 * process; so we see first whether it could. It waits with select(2), which a descriptor past FD_SETSIZE kills: with
 * hundreds of sessions only a number that was kept since the start is below that.
 */
static int run(const char *text, int *low_fd, const char *step, struct err *err)
{
	if (*low_fd < 0)
		*low_fd = eventfd(0, EFD_CLOEXEC);
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		return err_set(err, -errno, step, "socket");
	close_fd(fd);
	if (*low_fd < 0 || *low_fd >= FD_SETSIZE)
		return err_set(err, -EMFILE, step, "descriptor %d", *low_fd);
	close_fdp(low_fd);
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!nft)
		return err_set(err, -ENOMEM, step, "nftables");
	int r = 0;
	if (nft_ctx_buffer_output(nft) != 0 || nft_ctx_buffer_error(nft) != 0)
		r = err_set(err, -ENOMEM, step, "nftables");
	else if (nft_run_cmd_from_buffer(nft, text) != 0) {
		/* The library says in words alone what went wrong. */
		const char *words = nft_ctx_get_error_buffer(nft);
		r = err_set(err, -EPROTO, step, "%.*s", (int)strcspn(words, "\n"), words);
	}
	nft_ctx_free(nft);
	*low_fd = eventfd(0, EFD_CLOEXEC);
	return r;
}

/* Runs what was written to OUT, which is closed; its text is freed. */
static int run_written(FILE *out, char **text, int *low_fd, const char *step, struct err *err)
{
	int r = fclose(out) == 0 && *text ? run(*text, low_fd, step, err) : err_set(err, -ENOMEM, step, "rules");

	free(*text);
	return r;
}

/* What RULE lets pass: "ip daddr 10.0.0.0/8 tcp dport 443-443 return". */
static void print_rule(FILE *out, const struct egress_rule *rule)
{
	char address[INET6_ADDRSTRLEN];
	const char *protocol = rule->protocol == IPPROTO_TCP ? "tcp" : "udp";

	inet_ntop(rule->family == 4 ? AF_INET : AF_INET6, rule->address, address, sizeof(address));
	fprintf(out, "		%s daddr %s/%u", rule->family == 4 ? "ip" : "ip6", address, rule->bits);
	if (rule->protocol)
		fprintf(out, " %s dport %u-%u", protocol, rule->first_port, rule->last_port);
	fprintf(out, " return\n");
}

static void print_list(FILE *out, const struct egress_list *list)
{
	const unsigned int number = netns_list_number(list);

	fprintf(out, "table inet carrel {\n	chain list%u {\n", number);
	for (size_t i = 0; i < list->n_rules; i++)
		print_rule(out, &list->rules[i]);
	fprintf(out,
		"		drop\n	}\n}\n"
		"add element inet carrel open { %u }\n"
		"add element inet carrel reach { %u : jump list%u }\n",
		NETNS_GROUP_BASE + number, NETNS_GROUP_BASE + number, number);
}

int policy_load(const struct netns_config *config, int *low_fd, struct err *err)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return err_set(err, -ENOMEM, "policy", "rules");
	fprintf(out, "define base = %u\n", NETNS_GROUP_BASE);
	fprintf(out, "define spare = %u\n", NETNS_GROUP_BASE + NETNS_SPARE);
	fprintf(out, "define internet = %u\n", NETNS_GROUP_BASE + NETNS_INTERNET);
	fputs(policy, out);
	fprintf(out, "add element inet carrel users { 0, %u", config->allowed_uid);
	for (size_t i = 0; i < config->n_uids; i++)
		fprintf(out, ", %u", config->uids[i]);
	fprintf(out, " }\n");
	for (size_t i = 0; i < config->n_gids; i++)
		fprintf(out, "add element inet carrel groups { %u }\n", config->gids[i]);
	for (size_t i = 0; i < config->n_lists; i++)
		print_list(out, &config->lists[i]);
	return run_written(out, &text, low_fd, "policy", err);
}

/*
 * What is added is taken for there if it is, so that this replaces or removes a rate whether there was one or not. The
 * kernel's bucket holds a second's bytes and the burst.
 */
static void print_rate(FILE *out, const char *way, uint32_t slot, uint64_t rate)
{
	if (rate == NETNS_SAME_RATE)
		return;
	fprintf(out,
		"add chain inet carrel %1$s%2$u\nflush chain inet carrel %1$s%2$u\n"
		"add element inet carrel %1$s { cr%2$u : jump %1$s%2$u }\n",
		way, slot);
	if (rate == 0)
		fprintf(out, "delete element inet carrel %1$s { cr%2$u }\ndelete chain inet carrel %1$s%2$u\n", way,
			slot);
	else
		fprintf(out,
			"add rule inet carrel %s%u limit rate over %llu bytes/second burst %d bytes counter drop\n",
			way, slot, (unsigned long long)rate, BURST_BYTES);
}

int policy_rates(uint32_t slot, uint64_t sent, uint64_t received, int *low_fd, struct err *err)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return err_set(err, -ENOMEM, "rates", "rules");
	print_rate(out, "sent", slot, sent);
	print_rate(out, "received", slot, received);
	return run_written(out, &text, low_fd, "rates", err);
}

/* Adding it first makes it no error that it is not there. */
int policy_unload(int *low_fd, struct err *err)
{
	return run("add table inet carrel\n"
		   "delete table inet carrel\n",
		low_fd, "policy removal", err);
}

int policy_redirect(const uint16_t *ports, size_t n_ports, int *low_fd, struct err *err)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return err_set(err, -ENOMEM, "redirect", "rules");
	fprintf(out, "table ip carrel {\n"
		     "	chain loopback {\n"
		     "		type nat hook prerouting priority dstnat\n"
		     "		iifname eth0 tcp dport {");
	for (size_t i = 0; i < n_ports; i++)
		fprintf(out, "%s %u", i > 0 ? "," : "", ports[i]);
	fprintf(out, " } dnat to 127.0.0.1\n"
		     "	}\n"
		     "}\n");
	return run_written(out, &text, low_fd, "redirect", err);
}
