/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the table to a program for the kernel: libseccomp makes a balanced tree of the rows. What it cannot say is
 * "allowed but for these arguments": a call that is allowed swallows every other rule for it. Such exceptions are
 * written in front of its program, by hand, in the few instructions of exception_emit().
 */
#include "sandbox/seccomp.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sandbox/seccomp_rules.h"

#ifndef __x86_64__
#error "the table has the numbers, and knows the arguments, of x86-64"
#endif

/* Linux 6.3, include/uapi/linux/memfd.h. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static const struct {
	const char *name;
	enum seccomp_profile bit;
} profiles[] = {
	{ "minimal", MINIMAL },
	{ "browser", BROWSER },
	{ "dind", DIND },
};

/* 0 for an unknown name. */
static unsigned int profile_bit(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++)
		if (streq(profiles[i].name, name))
			return profiles[i].bit;
	return 0;
}

bool seccomp_profile_exists(const char *name)
{
	return profile_bit(name) != 0;
}

static bool is_exception(const struct seccomp_rule *rule)
{
	return rule->kind == EXCEPT_IF || rule->kind == EXCEPT_ANY;
}

/* ---- exceptions ---- */

enum { EXCEPTION_LENGTH = 7 };

/* "If the call, on this architecture, has such an argument, EPERM", falling through to what comes next if not. */
static void exception_emit(const struct seccomp_rule *rule, struct sock_filter code[EXCEPTION_LENGTH])
{
	/* Little-endian: the low half of an argument comes first. */
	const uint32_t arg = (uint32_t)offsetof(struct seccomp_data, args) + 8U * rule->arg;
	const uint16_t test = rule->kind == EXCEPT_ANY ? BPF_JSET : BPF_JEQ;
	const struct sock_filter emitted[EXCEPTION_LENGTH] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->number, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arg),
		BPF_JUMP(BPF_JMP | test | BPF_K, rule->value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};

	memcpy(code, emitted, sizeof(emitted));
}

static int write_exceptions(int fd, unsigned int profile)
{
	struct sock_filter code[EXCEPTION_LENGTH];

	for (size_t i = 0; i < n_seccomp_rules; i++) {
		const struct seccomp_rule *rule = &seccomp_rules[i];
		if (!(rule->profiles & profile) || !is_exception(rule))
			continue;
		exception_emit(rule, code);
		ssize_t n = write(fd, code, sizeof(code));
		if (n != (ssize_t)sizeof(code))
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

/* ---- the rest, by libseccomp ---- */

static int add_rule(scmp_filter_ctx filter, const struct seccomp_rule *rule)
{
	const bool allow = rule->kind == ALLOW || rule->kind == ALLOW_IF;
	const uint32_t action = allow ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM);
	const struct scmp_arg_cmp conditions[] = {
		SCMP_CMP64(rule->arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, rule->value),
		SCMP_CMP64(rule->second_arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, rule->second_value),
	};

	switch ((enum rule_kind)rule->kind) {
	case ALLOW:
	case REFUSE:
		return seccomp_rule_add_array(filter, action, rule->number, 0, NULL);
	case ALLOW_IF:
	case REFUSE_IF:
		return seccomp_rule_add_array(filter, action, rule->number, rule->second_arg ? 2 : 1, conditions);
	case EXCEPT_IF:
	case EXCEPT_ANY:
	case LACK:
		break;
	}
	return 0;
}

static int build(scmp_filter_ctx filter, unsigned int profile, struct err *err)
{
	/* x32 calls have the architecture of x86-64 and a bit in the number: libseccomp treats them like a bad one. */
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
	if (r < 0)
		return err_set(err, r, "seccomp", "attributes");
	for (size_t i = 0; i < n_seccomp_rules; i++) {
		if (!(seccomp_rules[i].profiles & profile))
			continue;
		r = add_rule(filter, &seccomp_rules[i]);
		if (r < 0)
			return err_set(err, r, "seccomp", "rule for %s", seccomp_rules[i].call);
	}
	return 0;
}

/* ---- the file ---- */

/* A memfd that can be sealed. vm.memfd_noexec=2 demands MFD_NOEXEC_SEAL; kernels before 6.3 do not know it. */
static int make_file(void)
{
	int fd = memfd_create("carrel-seccomp", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("carrel-seccomp", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

static int write_program(int fd, scmp_filter_ctx filter, unsigned int profile, uint32_t *ret_instructions)
{
	struct stat st;

	int r = write_exceptions(fd, profile);
	if (r == 0)
		r = seccomp_export_bpf(filter, fd);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	const uint64_t n = (uint64_t)st.st_size / sizeof(struct sock_filter);
	if ((uint64_t)st.st_size % sizeof(struct sock_filter) != 0 || n == 0 || n > BPF_MAXINSNS)
		return -E2BIG;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_instructions = (uint32_t)n;
	return 0;
}

int seccomp_profile_compile(const char *name, int *ret_fd, uint32_t *ret_instructions, struct err *err)
{
	const unsigned int profile = profile_bit(name);

	if (!profile)
		return err_set(err, -ENOENT, "seccomp", "profile %s", name);
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	if (!filter)
		return err_set(err, -ENOMEM, "seccomp", "profile %s", name);
	_close_ int fd = -1;
	int r = build(filter, profile, err);
	if (r == 0) {
		fd = make_file();
		r = fd < 0 ? fd : write_program(fd, filter, profile, ret_instructions);
		if (r < 0)
			err_set(err, r, "seccomp", "program of %s", name);
	}
	seccomp_release(filter);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* ---- for people ---- */

size_t seccomp_profile_count(const char *name)
{
	const unsigned int profile = profile_bit(name);
	size_t n = 0;

	for (size_t i = 0; i < n_seccomp_rules; i++) {
		const struct seccomp_rule *rule = &seccomp_rules[i];
		bool counted = !(rule->profiles & profile) || (rule->kind != ALLOW && rule->kind != ALLOW_IF);
		for (size_t j = 0; j < i && !counted; j++)
			counted = seccomp_rules[j].number == rule->number && seccomp_rules[j].kind == rule->kind &&
				  (seccomp_rules[j].profiles & profile);
		n += !counted;
	}
	return n;
}

static const char *kind_text(const struct seccomp_rule *rule)
{
	switch ((enum rule_kind)rule->kind) {
	case ALLOW:
	case ALLOW_IF:
		return "allow";
	case REFUSE:
	case REFUSE_IF:
	case EXCEPT_IF:
	case EXCEPT_ANY:
		return "EPERM";
	case LACK:
		break;
	}
	return "ENOSYS";
}

int seccomp_profile_print(const char *name, FILE *out)
{
	const unsigned int profile = profile_bit(name);

	if (!profile)
		return -ENOENT;
	fprintf(out, "profile %s: %zu calls are allowed; those not listed get ENOSYS\n", name,
		seccomp_profile_count(name));
	for (size_t i = 0; i < n_seccomp_rules; i++) {
		const struct seccomp_rule *rule = &seccomp_rules[i];
		char call[64];
		if (!(rule->profiles & profile))
			continue;
		snprintf(call, sizeof(call), rule->condition ? "%s(%s%s)" : "%s", rule->call,
			rule->kind == EXCEPT_ANY ? "any of " : "", rule->condition);
		fprintf(out, "%-6s  %-40s  %s\n", kind_text(rule), call, rule->reason);
	}
	return 0;
}
