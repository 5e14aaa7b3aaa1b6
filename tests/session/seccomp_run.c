/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp_run PROFILE UID COMMAND [ARGUMENT...]: what carrel-init does before it executes something, reduced to the
 * filter: no_new_privs, empty bounding set, ids, filter, exec. For UID 0 ids and capabilities stay. Used by
 * tests/session/test_seccomp.py; exits with 125 when it fails itself.
 */
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "sandbox/seccomp.h"

static int fail(const char *what)
{
	fprintf(stderr, "seccomp_run: %s: %s\n", what, strerror(errno));
	return 125;
}

static int load(const char *profile)
{
	struct sock_filter code[BPF_MAXINSNS];
	struct sock_fprog program = { .filter = code };
	_close_ int fd = -1;
	uint32_t n = 0;

	if (seccomp_profile_compile(profile, &fd, &n, NULL) < 0 ||
		pread(fd, code, sizeof(code), 0) != (ssize_t)(n * sizeof(code[0])))
		return -1;
	program.len = (unsigned short)n;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static int become(uid_t uid)
{
	for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			return -1;
	return setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ? -1 : 0;
}

int main(int argc, char *argv[])
{
	if (argc < 4) {
		fputs("usage: seccomp_run PROFILE UID COMMAND [ARGUMENT...]\n", stderr);
		return 125;
	}
	const uid_t uid = (uid_t)strtoul(argv[2], NULL, 10);
	if (uid != 0 && become(uid) < 0)
		return fail("ids");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || load(argv[1]) < 0)
		return fail(argv[1]);
	execvp(argv[3], argv + 3);
	return fail(argv[3]);
}
