/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/seccomp: the table is sound; each compiled program, run by a small interpreter, says for every call number
 * what the table says; and the kernel takes the programs and does the same.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "sandbox/seccomp.h"
#include "sandbox/seccomp_rules.h"

enum { NUMBERS = 600 /* beyond the newest call */, X32_BIT = 0x40000000 };

#define HIGH (UINT64_C(1) << 32) /* a bit that the kernel drops */

struct profile {
	const char *name;
	unsigned int bit;
	size_t allowed; /* as sandbox/seccomp.h and docs say */
	struct sock_filter code[BPF_MAXINSNS];
	uint32_t n;
};

static struct profile profiles[] = {
	{ .name = "minimal", .bit = MINIMAL, .allowed = 244 },
	{ .name = "browser", .bit = BROWSER, .allowed = 249 },
	{ .name = "dind", .bit = DIND, .allowed = 294 },
};

static int compile_all(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
		struct profile *p = &profiles[i];
		_close_ int fd = -1;
		struct err err;
		if (seccomp_profile_compile(p->name, &fd, &p->n, &err) < 0 ||
			pread(fd, p->code, sizeof(p->code), 0) != (ssize_t)(p->n * sizeof(p->code[0])))
			return -1;
	}
	return 0;
}

/* ---- the table ---- */

static bool is_conditional(const struct seccomp_rule *rule)
{
	return rule->kind == ALLOW_IF || rule->kind == REFUSE_IF || rule->kind == EXCEPT_IF ||
	       rule->kind == EXCEPT_ANY;
}

/* The rows of a call in a profile that have one of two kinds. */
static size_t count_rows(uint16_t number, unsigned int profile, enum rule_kind kind, enum rule_kind or_kind)
{
	size_t n = 0;

	for (size_t i = 0; i < n_seccomp_rules; i++) {
		const struct seccomp_rule *rule = &seccomp_rules[i];
		n += rule->number == number && (rule->profiles & profile) &&
		     (rule->kind == kind || rule->kind == or_kind);
	}
	return n;
}

static void test_rows(void **state _unused_)
{
	for (size_t i = 0; i < n_seccomp_rules; i++) {
		const struct seccomp_rule *rule = &seccomp_rules[i];
		assert_true(rule->profiles != 0 && (rule->profiles & ~ALL) == 0);
		assert_true(strlen(rule->reason) >= 4);
		assert_int_equal(is_conditional(rule), rule->condition != NULL);
		/* Names of libseccomp's own table; NULL for calls that are newer than it. */
		_free_ char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, rule->number);
		if (name)
			assert_string_equal(name, rule->call);
	}
}

/* In no profile do two rows contradict each other, and none is without effect. */
static void test_rows_agree(void **state _unused_)
{
	for (size_t p = 0; p < ARRAY_SIZE(profiles); p++)
		for (uint16_t number = 0; number < NUMBERS; number++) {
			const unsigned int bit = profiles[p].bit;
			size_t whole = count_rows(number, bit, ALLOW, REFUSE) + count_rows(number, bit, LACK, LACK);
			size_t either = count_rows(number, bit, ALLOW_IF, REFUSE_IF);
			size_t exceptions = count_rows(number, bit, EXCEPT_IF, EXCEPT_ANY);
			assert_true(whole <= 1);
			assert_true(whole == 0 || either == 0);
			assert_true(exceptions == 0 || count_rows(number, bit, ALLOW, ALLOW) == 1);
			assert_true(count_rows(number, bit, REFUSE_IF, REFUSE_IF) == 0 ||
				    count_rows(number, bit, ALLOW_IF, ALLOW_IF) > 0);
		}
}

/* Every call has its answer in every profile or in none: a row that forgets one would be an accident. */
static void test_rows_cover(void **state _unused_)
{
	for (uint16_t number = 0; number < NUMBERS; number++)
		for (size_t i = 0; i < n_seccomp_rules; i++) {
			const struct seccomp_rule *rule = &seccomp_rules[i];
			if (rule->number != number || (rule->kind != REFUSE && rule->kind != LACK))
				continue;
			for (size_t p = 0; p < ARRAY_SIZE(profiles); p++)
				assert_true(count_rows(number, profiles[p].bit, REFUSE, LACK) == 1 ||
					    count_rows(number, profiles[p].bit, ALLOW, ALLOW_IF) > 0);
		}
}

static void test_counts(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
		assert_true(seccomp_profile_exists(profiles[i].name));
		assert_int_equal(seccomp_profile_count(profiles[i].name), profiles[i].allowed);
	}
	assert_int_equal(seccomp_profile_count("none"), 0);
}

/* ---- the programs ---- */

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t word;

	assert_true(offset % 4 == 0 && offset < sizeof(*data));
	memcpy(&word, (const char *)data + offset, sizeof(word));
	return word;
}

static bool jumps(const struct sock_filter *at, uint32_t a)
{
	switch (BPF_OP(at->code)) {
	case BPF_JEQ:
		return a == at->k;
	case BPF_JGT:
		return a > at->k;
	case BPF_JGE:
		return a >= at->k;
	case BPF_JSET:
		return a & at->k;
	default:
		fail_msg("jump %#x", at->code);
	}
	return false;
}

/* What the kernel's interpreter does, for the instructions that occur. */
static uint32_t interpret(const struct profile *p, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (size_t i = 0; i < p->n; i++) {
		const struct sock_filter *at = &p->code[i];
		switch (at->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			a = load(data, at->k);
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= at->k;
			break;
		case BPF_JMP | BPF_JA:
			i += at->k;
			break;
		case BPF_RET | BPF_K:
			return at->k;
		default:
			assert_int_equal(BPF_CLASS(at->code), BPF_JMP);
			i += jumps(at, a) ? at->jt : at->jf;
		}
	}
	fail_msg("the program ends without an answer");
	return 0;
}

static uint32_t ask(const struct profile *p, int number, uint64_t arg0, uint64_t arg1, uint64_t arg2)
{
	const struct seccomp_data data = { .nr = number, .arch = AUDIT_ARCH_X86_64, .args = { arg0, arg1, arg2 } };

	return interpret(p, &data);
}

static const uint32_t allowed = SECCOMP_RET_ALLOW, refused = SECCOMP_RET_ERRNO | EPERM,
		      lacking = SECCOMP_RET_ERRNO | ENOSYS;

static bool holds(const struct seccomp_rule *rule, const uint64_t args[3])
{
	const uint32_t arg = (uint32_t)args[rule->arg];

	if (rule->kind == EXCEPT_ANY)
		return arg & rule->value;
	if (!is_conditional(rule))
		return true;
	return arg == rule->value && (!rule->second_arg || (uint32_t)args[rule->second_arg] == rule->second_value);
}

/* What the table says, in the plainest way. */
static uint32_t look_up(const struct profile *p, uint16_t number, const uint64_t args[3])
{
	uint32_t answer = lacking;

	for (size_t i = 0; i < n_seccomp_rules; i++) {
		const struct seccomp_rule *rule = &seccomp_rules[i];
		if (rule->number != number || !(rule->profiles & p->bit) || rule->kind == LACK || !holds(rule, args))
			continue;
		if (rule->kind != ALLOW && rule->kind != ALLOW_IF)
			return refused;
		answer = allowed;
	}
	return answer;
}

/* Every call number, with arguments that sit on and beside every condition of the table. */
static void test_programs(void **state _unused_)
{
	for (size_t p = 0; p < ARRAY_SIZE(profiles); p++)
		for (uint16_t number = 0; number < NUMBERS; number++)
			for (size_t i = 0; i < n_seccomp_rules; i++) {
				const struct seccomp_rule *rule = &seccomp_rules[i];
				if (!is_conditional(rule) && i > 0)
					continue;
				const uint64_t values[] = { rule->value, rule->value | HIGH, rule->value + 1U, 0,
					UINT64_MAX };
				for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
					uint64_t args[3] = { 0, 0, rule->second_value };
					args[rule->arg] = values[v];
					uint32_t got = ask(&profiles[p], number, args[0], args[1], args[2]);
					uint32_t wanted = look_up(&profiles[p], number, args);
					if (got != wanted)
						print_error("%s: call %u(%#llx, %#llx)\n", profiles[p].name, number,
							(unsigned long long)args[0], (unsigned long long)args[1]);
					assert_int_equal(got, wanted);
				}
			}
}

/* Said once more without the table: what matters most. */
static void test_walls(void **state _unused_)
{
	const struct profile *minimal = &profiles[0], *browser = &profiles[1], *dind = &profiles[2];

	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
		const struct profile *p = &profiles[i];
		assert_int_equal(ask(p, SYS_ioctl, 0, TIOCSTI, 0), refused);
		assert_int_equal(ask(p, SYS_ioctl, 0, TIOCSTI | HIGH, 0), refused);
		assert_int_equal(ask(p, SYS_ioctl, 0, TIOCLINUX | HIGH << 31, 0), refused);
		assert_int_equal(ask(p, SYS_ioctl, 0, TIOCSCTTY, 0), allowed);
		assert_int_equal(ask(p, SYS_ioctl, TIOCSTI, TIOCGWINSZ, TIOCSTI), allowed);
		assert_int_equal(ask(p, SYS_bpf, 0, 0, 0), refused);
		assert_int_equal(ask(p, SYS_io_uring_setup, 0, 0, 0), refused);
		assert_int_equal(ask(p, SYS_userfaultfd, 0, 0, 0), refused);
		assert_int_equal(ask(p, SYS_keyctl, 0, 0, 0), lacking);
		assert_int_equal(ask(p, SYS_clone3, 0, 0, 0), lacking);
		assert_int_equal(ask(p, SYS_socket, AF_PACKET | HIGH, SOCK_RAW, 0), refused);
		assert_int_equal(ask(p, SYS_socket, AF_UNIX, SOCK_STREAM, 0), allowed);
		assert_int_equal(ask(p, 599, 0, 0, 0), lacking);
	}
	assert_int_equal(ask(minimal, SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0), refused);
	assert_int_equal(ask(minimal, SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0), allowed);
	assert_int_equal(
		ask(browser, SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | SIGCHLD, 0, 0), allowed);
	assert_int_equal(ask(browser, SYS_clone, CLONE_NEWUSER | CLONE_NEWNS, 0, 0), refused);
	assert_int_equal(ask(browser, SYS_setsockopt, 3, IPPROTO_IP, 64 /* IPT_SO_SET_REPLACE */), refused);
	assert_int_equal(ask(browser, SYS_setsockopt, 3, SOL_SOCKET, SO_RCVBUF), allowed);
	assert_int_equal(ask(dind, SYS_setsockopt, 3, IPPROTO_IP, 64), allowed);
	assert_int_equal(ask(dind, SYS_clone, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP, 0, 0), allowed);
	assert_int_equal(ask(minimal, SYS_unshare, CLONE_NEWUSER, 0, 0), refused);
	assert_int_equal(ask(browser, SYS_unshare, CLONE_NEWUSER, 0, 0), allowed);
	assert_int_equal(ask(browser, SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS, 0, 0), refused);
	assert_int_equal(ask(browser, SYS_unshare, 0x80 /* CLONE_NEWTIME */, 0, 0), refused);
	assert_int_equal(ask(browser, SYS_mount, 0, 0, 0), refused);
	assert_int_equal(ask(browser, SYS_ptrace, 0, 0, 0), refused);
	assert_int_equal(ask(browser, SYS_socket, AF_NETLINK, SOCK_RAW, 0), refused);
	assert_int_equal(ask(minimal, SYS_socket, AF_NETLINK, SOCK_RAW, 0), allowed);
	assert_int_equal(ask(minimal, SYS_socket, AF_NETLINK, SOCK_RAW, 12 /* NETLINK_NETFILTER */), lacking);
	assert_int_equal(ask(dind, SYS_socket, AF_NETLINK, SOCK_RAW, 12), allowed);
	assert_int_equal(ask(dind, SYS_socket, AF_NETLINK, SOCK_RAW, 16 /* NETLINK_GENERIC */), lacking);
	assert_int_equal(ask(dind, SYS_mount, 0, 0, 0), allowed);
}

/* Whatever else the number says: another architecture ends the process. */
static void test_architectures(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++)
		for (int number = 0; number < NUMBERS; number++) {
			const struct seccomp_data i386 = {
				.nr = number, .arch = AUDIT_ARCH_I386, .args = { 0, TIOCSTI }
			};
			const struct seccomp_data arm = { .nr = number, .arch = AUDIT_ARCH_AARCH64 };
			assert_int_equal(interpret(&profiles[i], &i386), SECCOMP_RET_KILL_PROCESS);
			assert_int_equal(interpret(&profiles[i], &arm), SECCOMP_RET_KILL_PROCESS);
			assert_int_equal(ask(&profiles[i], number | X32_BIT, 0, 0, 0), SECCOMP_RET_KILL_PROCESS);
		}
}

static void test_file(void **state _unused_)
{
	uint32_t n = 77;
	int fd = -77;
	struct err err = { 0 };

	assert_int_equal(seccomp_profile_compile("none", &fd, &n, &err), -ENOENT);
	assert_int_equal(fd, -77);
	assert_int_equal(n, 77);
	assert_string_equal(err.object, "profile none");
	assert_false(seccomp_profile_exists("none") || seccomp_profile_exists(""));

	assert_int_equal(seccomp_profile_compile("browser", &fd, &n, NULL), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), n * sizeof(struct sock_filter));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	const int seals = fcntl(fd, F_GET_SEALS), wanted = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	assert_int_equal(seals & wanted, wanted);
	close(fd);
}

static void test_print(void **state _unused_)
{
	_free_ char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	assert_int_equal(seccomp_profile_print("none", out), -ENOENT);
	assert_int_equal(seccomp_profile_print("minimal", out), 0);
	fclose(out);
	assert_int_equal(strncmp(text, "profile minimal: 244 calls are allowed", 38), 0);
	assert_non_null(strstr(text, "\nEPERM   ioctl(TIOCSTI) "));
	assert_non_null(strstr(text, "\nEPERM   clone(any of NAMESPACES) "));
	assert_non_null(strstr(text, "\nallow   socket(AF_NETLINK, NETLINK_ROUTE) "));
	assert_null(strstr(text, "pkey_alloc"));
	assert_null(strstr(text, "(null)"));
}

/* ---- the kernel ---- */

static int load_filter(struct profile *p)
{
	const struct sock_fprog program = { .len = (unsigned short)p->n, .filter = p->code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

/* Makes every call that the profile does not allow, and ends with the number of the first wrong answer, or 0. */
static int make_calls(const struct profile *p)
{
	for (uint16_t number = 1; number < NUMBERS; number++) {
		const uint64_t zeroes[3] = { 0 };
		uint32_t wanted = look_up(p, number, zeroes);
		/* 335 and 336 are the kernel's own, for probes; since 6.14 it asks no filter about them. */
		if (wanted == allowed || number == 335 || number == 336)
			continue;
		errno = 0;
		long r = syscall(number, 0, 0, 0, 0, 0, 0);
		if (r != -1 || errno != (int)(wanted & SECCOMP_RET_DATA))
			return number;
	}
	return 0;
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_kernel(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
		struct profile *p = &profiles[i];
		pid_t pid = fork();
		if (pid == 0) {
			if (load_filter(p) < 0)
				_exit(100);
			if (make_calls(p) != 0)
				_exit(101);
			if (ioctl(0, TIOCSTI, "x") != -1 || errno != EPERM)
				_exit(102);
			/* What is allowed is done. */
			pid_t child = fork();
			if (child == 0)
				_exit(7);
			int status;
			if (child < 0 || waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7)
				_exit(103);
			_exit(0);
		}
		const int status = end_of(pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static void test_kernel_x32(void **state _unused_)
{
	pid_t pid = fork();
	if (pid == 0) {
		if (load_filter(&profiles[0]) < 0)
			_exit(100);
		syscall(SYS_getpid | X32_BIT);
		_exit(0);
	}
	const int status = end_of(pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_rows_agree),
		cmocka_unit_test(test_rows_cover),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_walls),
		cmocka_unit_test(test_architectures),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_kernel_x32),
	};

	return cmocka_run_group_tests(tests, compile_all, NULL);
}
