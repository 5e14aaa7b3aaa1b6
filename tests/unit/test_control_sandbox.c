/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left to control once it has locked itself in: each test runs in a child that does, and says by its exit
 * status what it found.
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "control/sandbox.h"
#include "wire/spec.h"

enum { OTHER_ID = 61184 }; /* no account has it; for when the test is run by root */

struct fixture {
	char dir[64], config_dir[80], state_dir[80], run_dir[80], registry[128], image[128];
	struct config config;
	bool has_port_rules;
};

static void make_dir(const char *parent, const char *name, char *ret, size_t size)
{
	snprintf(ret, size, "%s/%s", parent, name);
	assert_return_code(mkdir(ret, 0755), errno);
	if (geteuid() == 0)
		assert_return_code(chown(ret, OTHER_ID, OTHER_ID), errno);
}

static void make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_return_code(fd, errno);
	close(fd);
	if (geteuid() == 0)
		assert_return_code(chown(path, OTHER_ID, OTHER_ID), errno);
}

static int set_up(void **state)
{
	static struct fixture f;
	char path[96];

	snprintf(f.dir, sizeof(f.dir), "/tmp/carrel-sandbox-XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	assert_return_code(chmod(f.dir, 0755), errno);
	make_dir(f.dir, "etc", f.config_dir, sizeof(f.config_dir));
	make_dir(f.dir, "state", f.state_dir, sizeof(f.state_dir));
	make_dir(f.state_dir, "control", path, sizeof(path));
	snprintf(f.registry, sizeof(f.registry), "%s/registry.db", path);
	make_dir(f.state_dir, "images", path, sizeof(path));
	snprintf(f.image, sizeof(f.image), "%s/image.json", path);
	make_file(f.image);
	make_dir(f.dir, "run", f.run_dir, sizeof(f.run_dir));
	make_dir(f.run_dir, "endpoints", path, sizeof(path));
	f.config.state_dir = f.state_dir;
	f.config.run_dir = f.run_dir;
	f.config.n_publish_addresses = 1;
	f.config.publish_first_port = 20000;
	f.config.publish_last_port = 20001;
	f.has_port_rules = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 4;
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = { "state/control/registry.db", "state/control/registry.db-wal",
		"state/images/image.json" };
	static const char *const dirs[] = { "state/control", "state/images", "state", "run/endpoints", "run", "etc",
		"" };
	struct fixture *f = *state;
	char path[160];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, files[i]);
		unlink(path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, dirs[i]);
		assert_return_code(rmdir(path), errno);
	}
	return 0;
}

/* Ends the child; by hand, because AddressSanitizer wants more system calls before a function that does not return. */
static void leave(int status)
{
	syscall(SYS_exit_group, status);
}

/* In the child: ends it with a word on what did not hold. */
#define HOLDS(condition)                                                          \
	do {                                                                      \
		if (!(condition)) {                                               \
			dprintf(STDERR_FILENO, "%d: %s\n", __LINE__, #condition); \
			leave(1);                                                 \
		}                                                                 \
	} while (0)
#define FAILS_WITH(call, error) HOLDS((call) < 0 && errno == (error))

/* Runs TEST in a child that is locked in. */
static void locked_in(const struct fixture *f, void (*test)(const struct fixture *f))
{
	struct err err;
	int status;

	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		if (geteuid() == 0)
			HOLDS(setresgid(OTHER_ID, OTHER_ID, OTHER_ID) == 0 &&
				setresuid(OTHER_ID, OTHER_ID, OTHER_ID) == 0);
		HOLDS(sandbox_enter(&f->config, f->config_dir, &err) == 0);
		test(f);
		leave(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static void check_calls(const struct fixture *f _unused_)
{
	char *const argv[] = { NULL };

	FAILS_WITH(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0), ENOSYS);
	FAILS_WITH(syscall(SYS_clone3, NULL, 0), ENOSYS);
	FAILS_WITH(execve("/bin/true", argv, argv), ENOSYS);
	FAILS_WITH(kill(getppid(), 0), ENOSYS);
	FAILS_WITH(syscall(SYS_unshare, 0), ENOSYS);
	FAILS_WITH(syscall(SYS_ptrace, 0, 0, 0, 0), ENOSYS);
	FAILS_WITH(prctl(PR_GET_DUMPABLE), ENOSYS);
	FAILS_WITH(syscall(SYS_ioctl, 0, 0x5401, NULL), ENOSYS);
	HOLDS(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	HOLDS(page != MAP_FAILED);
	FAILS_WITH(mprotect(page, 4096, PROT_READ | PROT_EXEC), ENOSYS);
	HOLDS(mprotect(page, 4096, PROT_READ) == 0);
}

/* Sockets to listen, and in no way to connect. */
static void check_sockets(const struct fixture *f)
{
	enum { LISTENS = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK };
	struct sockaddr_in ipv4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un here = { .sun_family = AF_UNIX }, there = { .sun_family = AF_UNIX };
	const struct sockaddr *to = (const void *)&ipv4;
	struct msghdr fast = { .msg_name = &ipv4, .msg_namelen = sizeof(ipv4) };
	const sa_family_t nobody = AF_UNSPEC;

	FAILS_WITH(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ENOSYS);
	FAILS_WITH(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP), ENOSYS);
	FAILS_WITH(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ENOSYS);
	FAILS_WITH(socket(AF_VSOCK, LISTENS, 0), ENOSYS);
	int tcp = socket(AF_INET, LISTENS, 0), local = socket(AF_UNIX, LISTENS, 0);
	HOLDS(tcp >= 0 && local >= 0);
	snprintf(here.sun_path, sizeof(here.sun_path), "%s/run/endpoints/one.sock", f->dir);
	snprintf(there.sun_path, sizeof(there.sun_path), "%s/run/one.sock", f->dir);
	ipv4.sin_port = htons(20000);
	FAILS_WITH(connect(tcp, to, sizeof(ipv4)), ENOSYS);
	FAILS_WITH(connect(local, (const void *)&here, sizeof(here)), ENOSYS);
	FAILS_WITH(sendto(tcp, "x", 1, MSG_FASTOPEN, to, sizeof(ipv4)), ENOSYS);
	FAILS_WITH(sendto(tcp, "x", 1, MSG_FASTOPEN, NULL, 0), ENOSYS);
	FAILS_WITH(sendmsg(tcp, &fast, MSG_FASTOPEN), ENOSYS);
	HOLDS(connect(tcp, (const void *)&nobody, sizeof(nobody)) == 0);
	HOLDS(bind(local, (const void *)&here, sizeof(here)) == 0 && listen(local, 1) == 0);
	HOLDS(unlink(here.sun_path) == 0);
	if (!has_landlock())
		return;
	local = socket(AF_UNIX, LISTENS, 0);
	FAILS_WITH(bind(local, (const void *)&there, sizeof(there)), EACCES);
	if (!f->has_port_rules)
		return;
	HOLDS(bind(tcp, to, sizeof(ipv4)) == 0 || errno == EADDRINUSE);
	ipv4.sin_port = htons(20002);
	tcp = socket(AF_INET, LISTENS, 0);
	FAILS_WITH(bind(tcp, to, sizeof(ipv4)), EACCES);
	ipv4.sin_port = 0;
	FAILS_WITH(bind(tcp, to, sizeof(ipv4)), EACCES);
}

static void test_sockets(void **state)
{
	locked_in(*state, check_sockets);
}

static void test_system_calls(void **state)
{
	locked_in(*state, check_calls);
}

static void check_files(const struct fixture *f)
{
	char path[160];

	FAILS_WITH(open("/etc/passwd", O_RDONLY), EACCES);
	FAILS_WITH(open("/", O_RDONLY | O_DIRECTORY), EACCES);
	FAILS_WITH(open("/proc/self/mem", O_RDWR), EACCES);
	HOLDS(open("/dev/null", O_RDWR) >= 0);
	HOLDS(open(f->config_dir, O_RDONLY | O_DIRECTORY) >= 0);
	HOLDS(open(f->image, O_RDONLY) >= 0);
	/* Both belong to its user: it is Landlock that refuses. */
	FAILS_WITH(open(f->image, O_WRONLY), EACCES);
	snprintf(path, sizeof(path), "%s/file", f->config_dir);
	FAILS_WITH(open(path, O_WRONLY | O_CREAT, 0600), EACCES);
	snprintf(path, sizeof(path), "%s/control/dir", f->state_dir);
	FAILS_WITH(mkdir(path, 0700), EACCES);
}

static void test_files(void **state)
{
	if (!has_landlock())
		skip();
	locked_in(*state, check_files);
}

/* As the registry does: what SQLite needs is neither a file nor a call too few. */
static void check_registry(const struct fixture *f)
{
	sqlite3 *db;

	HOLDS(sqlite3_open_v2(f->registry, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK);
	HOLDS(sqlite3_exec(db,
		      "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA temp_store=MEMORY;"
		      "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, randomblob(100000));"
		      "BEGIN; UPDATE t SET a = 2; ROLLBACK; PRAGMA integrity_check;",
		      NULL, NULL, NULL) == SQLITE_OK);
	HOLDS(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) == SQLITE_OK);
	HOLDS(sqlite3_close(db) == SQLITE_OK);
}

static void test_registry(void **state)
{
	locked_in(*state, check_registry);
}

static void check_spec(const struct fixture *f _unused_)
{
	struct spec_header header = { .cwd = "/" };
	char *const argv[] = { (char *)(uintptr_t) "program", NULL }, *const envp[] = { NULL };
	struct spec spec;

	int fd = spec_write(&header, argv, envp);
	HOLDS(fd >= 0);
	HOLDS(spec_read(fd, &spec) == 0);
	spec_release(&spec);
}

static void test_spec(void **state)
{
	locked_in(*state, check_spec);
}

static void test_root_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct err err;

	if (geteuid() != 0)
		skip();
	assert_int_equal(sandbox_enter(&f->config, f->config_dir, &err), -EPERM);
	assert_string_equal(err.step, "privilege");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root_is_refused),
		cmocka_unit_test(test_system_calls),
		cmocka_unit_test(test_sockets),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_spec),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
