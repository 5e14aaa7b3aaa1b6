/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and addresses: the host name, and the three files of /etc that say what a session is called and whom it
 * asks for addresses.
 *
 * The files are put into the upper layer while it is still an empty tmpfs that nobody else has seen. So there is no
 * link of the image's to be careful of and nothing to copy up, and what the image has under these names is hidden.
 * An inherited resolv.conf with a nameserver out of reach would cost every look-up many seconds.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include "sandbox/init.h"
#include "sandbox/sys.h"

static int write_file(struct setup *setup, const char *path, const char *text)
{
	_close_ int fd = openat(setup->stage, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return fail(setup, -errno, "%s", path);
	size_t n = strlen(text);
	/* A tmpfs takes these few bytes whole or, when it is full, not at all. */
	if (write(fd, text, n) != (ssize_t)n)
		return fail(setup, -ENOSPC, "%s", path);
	return 0;
}

static int write_hostname(struct setup *setup)
{
	char line[NAME_SIZE + 1];

	if (sethostname(setup->plan.hostname, strlen(setup->plan.hostname)) < 0)
		return fail(setup, -errno, "hostname");
	snprintf(line, sizeof(line), "%s\n", setup->plan.hostname);
	return write_file(setup, "u/etc/hostname", line);
}

static int write_hosts(struct setup *setup)
{
	const struct plan *plan = &setup->plan;
	char ipv4[INET_ADDRSTRLEN], ipv6[INET6_ADDRSTRLEN], text[512];
	int n = snprintf(text, sizeof(text), "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");

	/* The longest lines make 270 bytes in all. */
	if (plan->flags & PLAN_HAS_IPV4 && inet_ntop(AF_INET, plan->ipv4, ipv4, sizeof(ipv4)))
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s %s\n", ipv4, plan->hostname);
	if (plan->flags & PLAN_HAS_IPV6 && inet_ntop(AF_INET6, plan->ipv6, ipv6, sizeof(ipv6)))
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s %s\n", ipv6, plan->hostname);
	/* Without an address the name is still one that can be looked up. */
	if (!(plan->flags & (PLAN_HAS_IPV4 | PLAN_HAS_IPV6)))
		snprintf(text + n, sizeof(text) - (size_t)n, "127.0.1.1 %s\n", plan->hostname);
	return write_file(setup, "u/etc/hosts", text);
}

/* With no nameserver the file is empty, and a resolver asks 127.0.0.1, which refuses at once. */
static int write_resolv_conf(struct setup *setup)
{
	const struct plan *plan = &setup->plan;
	char address[INET6_ADDRSTRLEN],
		text[PLAN_MAX_NAMESERVERS * sizeof("nameserver \n") + sizeof(address) * 3] = "";
	size_t n = 0;

	for (size_t i = 0; i < plan->n_nameservers; i++) {
		int family = plan->nameserver_family[i] == 6 ? AF_INET6 : AF_INET;
		if (!inet_ntop(family, plan->nameservers[i], address, sizeof(address)))
			return fail(setup, -errno, "nameserver %zu", i);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "nameserver %s\n", address);
	}
	return write_file(setup, "u/etc/resolv.conf", text);
}

int step_files(struct setup *setup)
{
	int r = write_hostname(setup);
	if (r == 0)
		r = write_hosts(setup);
	if (r == 0)
		r = write_resolv_conf(setup);
	return r;
}
