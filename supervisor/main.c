/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carreld, the supervisor of carrel: the only part that runs as root.
 *
 * It owns every host resource that a session has: ids, directory, cgroup, network, mounts, processes. It takes fixed
 * structs from carrel-control, which may be hostile, and does no more than the rows of the table in ops.c. It never
 * parses JSON or other text from a peer, runs no shell and no helper, starts no thread, and takes no part in what is
 * done inside a session.
 *
 * Stage by stage, with what may go wrong and what it holds:
 *
 *   1 options, configuration   reads root-owned files; prints what is wrong with them and exits
 *   2 privilege                keeps the capabilities of privilege.c, drops the others
 *   3 host                     a mount namespace of its own, the cgroup tree, the nftables table, /dev, carrel-init
 *                              sealed into memory, system call filters compiled; refuses a host that lacks something
 *   4 adoption                 takes over what the ledger says: live sessions go on, half-made ones are undone
 *   5 service                  starts carrel-control and waits for events; from here nothing makes it exit but
 *                              SIGTERM (sessions live on) and SIGINT (sessions are ended first)
 *
 * Descriptors it holds: those of struct supervisor, and per session its directory, its cgroup and the pidfd of its
 * init.
 */
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>

#include "check/check.h"
#include "rootfs/rootfs.h"
#include "sandbox/seccomp.h"
#include "supervisor/supervisor.h"

struct options {
	const char *config_dir, *libexec_dir;
	bool check, json;
};

static const char usage[] =
	"Usage: carreld [OPTION]...\n"
	"The supervisor of carrel: runs sessions for the backends that speak to its API socket.\n"
	"\n"
	"  -c, --config DIR        configuration (default " CARREL_CONFIG_DIR ")\n"
	"      --libexec-dir DIR   where carrel-control and carrel-init are (default " CARREL_LIBEXEC_DIR ")\n"
	"      --check             say what this host has and lacks, and exit\n"
	"      --json              with --check: as JSON\n"
	"      --list-operations   print the table of privileged operations\n"
	"      --list-steps        print the table of session steps\n"
	"      --list-capabilities print the capabilities it keeps, with reasons\n"
	"      --list-seccomp NAME print a system call filter, with reasons\n"
	"      --list-config       print every member of carrel.json and of a template\n"
	"      --version\n"
	"  -h, --help\n"
	"\n"
	"SIGTERM ends carreld and leaves the sessions running; SIGINT ends the sessions first.\n";

/* ---- stage 1 ---- */

enum { CHECK = 256, JSON, LIBEXEC, OPERATIONS, STEPS, CAPABILITIES, SECCOMP, MEMBERS, VERSION };

/* The options that print something and end: the exit status plus one. */
static int print_and_end(int option, const char *value)
{
	switch (option) {
	case OPERATIONS:
		ops_print(stdout);
		return 1;
	case STEPS:
		steps_print(stdout);
		return 1;
	case CAPABILITIES:
		privilege_print(stdout);
		return 1;
	case SECCOMP:
		if (seccomp_profile_print(value, stdout) == 0)
			return 1;
		fprintf(stderr, "carreld: there is no system call profile %s\n", value);
		return 3;
	case MEMBERS:
		config_print_members(stdout);
		return 1;
	case VERSION:
		printf("carreld %s\n", carrel_version);
		return 1;
	case 'h':
		fputs(usage, stdout);
		return 1;
	default:
		fputs("Try 'carreld --help'.\n", stderr);
		return 3;
	}
}

/* 0 to go on, else the exit status plus one. */
static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "libexec-dir", required_argument, NULL, LIBEXEC },
		{ "check", no_argument, NULL, CHECK },
		{ "json", no_argument, NULL, JSON },
		{ "list-operations", no_argument, NULL, OPERATIONS },
		{ "list-capabilities", no_argument, NULL, CAPABILITIES },
		{ "list-steps", no_argument, NULL, STEPS },
		{ "list-seccomp", required_argument, NULL, SECCOMP },
		{ "list-config", no_argument, NULL, MEMBERS },
		{ "version", no_argument, NULL, VERSION },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};

	*ret = (struct options){ .config_dir = CARREL_CONFIG_DIR, .libexec_dir = CARREL_LIBEXEC_DIR };
	for (int c; (c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1;) {
		switch (c) {
		case 'c':
			ret->config_dir = optarg;
			break;
		case LIBEXEC:
			ret->libexec_dir = optarg;
			break;
		case CHECK:
			ret->check = true;
			break;
		case JSON:
			ret->json = true;
			break;
		default:
			return print_and_end(c, optarg);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "carreld: %s: unexpected argument\nTry 'carreld --help'.\n", argv[optind]);
		return 3;
	}
	return 0;
}

static int print_check(const struct config *config, bool json)
{
	struct check_item items[MAX_CHECK_ITEMS];
	size_t n = 0;
	int missing = 0;

	int r = check_host(config, items, ARRAY_SIZE(items), &n);
	if (r < 0) {
		fprintf(stderr, "carreld: the host cannot be checked: %s\n", strerror(-r));
		return 1;
	}
	check_print(items, n, json, stdout);
	for (size_t i = 0; i < n; i++)
		missing += items[i].state == CHECK_MISSING;
	return missing > 0;
}

/* ---- stage 3 ---- */

struct directory {
	const int *parent;
	const char *path;
	mode_t mode;
	int *ret_fd;
	bool controls; /* belongs to control, which alone may change it from then on */
};

/* Opens a directory, made if it is missing. */
static int open_directory(const struct directory *directory, const struct keeper *keeper, struct err *err)
{
	const char *path = directory->path;
	struct stat st;

	if (mkdirat(*directory->parent, path, directory->mode) < 0 && errno != EEXIST)
		return err_set(err, -errno, "directory", "%s", path);
	_close_ int fd = openat(*directory->parent, path, OPEN_DIR);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "directory", "%s", path);
	if (!directory->controls && st.st_uid != 0)
		return err_set(err, -EPERM, "directory", "%s belongs to uid %u, not root", path, st.st_uid);
	if (directory->controls ? fchown(fd, keeper->uid, keeper->gid) < 0 : fchmod(fd, directory->mode) < 0)
		return err_set(err, -errno, "directory", "%s", path);
	*directory->ret_fd = steal_fd(&fd);
	return 0;
}

static int open_directories(struct supervisor *super, struct err *err)
{
	_close_ int state = -1, images = -1, control = -1, endpoints = -1;
	const int here = AT_FDCWD;
	const struct directory directories[] = {
		{ &here, super->config.run_dir, 0755, &super->run_fd, false },
		{ &super->run_fd, "sessions", 0711, &super->sessions_fd, false },
		{ &super->run_fd, "endpoints", 0750, &endpoints, true }, /* where its group finds sockets */
		{ &here, super->config.state_dir, 0755, &state, false },
		{ &state, "images", 0755, &images, false },
		{ &state, "rootfs", 0700, &super->store_fd, false },
		{ &state, "volumes", 0700, &super->volumes_fd, false },
		{ &state, "removed", 0700, &super->removed_fd, false },
		{ &state, "control", 0700, &control, true },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(directories); i++)
		r = open_directory(&directories[i], &super->keeper, err);
	return r;
}

/* Holds NAME in DIR_FD for this process alone, for as long as it lives; the descriptor is kept on purpose. */
static int lock_file(int dir_fd, const char *name)
{
	struct flock lock = { .l_type = F_WRLCK };
	_close_ int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0)
		return -errno;
	steal_fd(&fd);
	return 0;
}

/* Where the second lock is: named after the network namespace, because the table and the interfaces are that one's. */
static int network_lock_name(char *ret, size_t size)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		return -errno;
	snprintf(ret, size, "/run/carrel-net-%llu.lock", (unsigned long long)st.st_ino);
	return 0;
}

/* One supervisor per run directory, and one per network namespace. */
static int take_locks(struct supervisor *super, struct err *err)
{
	char name[64];
	int r = lock_file(super->run_fd, "lock");

	if (r < 0)
		return err_set(err, r, "lock", "another carreld runs on %s", super->config.run_dir);
	r = network_lock_name(name, sizeof(name));
	if (r == 0)
		r = lock_file(AT_FDCWD, name);
	return r < 0 ? err_set(err, r, "lock", "another carreld runs in this network namespace (%s)", name) : 0;
}

/*
 * Two mount namespaces: an empty one for sessions to begin in, and one of our own: what is mounted for the sessions is not in the host's. Before any directory is opened,
 * because mounts can be cloned and attached only within the namespace that they were found in.
 */
static int make_mount_namespace(struct supervisor *super, struct err *err)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_set(err, -errno, "mounts", "own namespace");
	return rootfs_empty(&super->empty_fd, err);
}

static int compile_filters(struct supervisor *super, struct err *err)
{
	for (size_t i = 0; i < super->config.n_templates; i++) {
		const char *name = super->config.templates[i].seccomp;
		struct seccomp_filter *filter = &super->filters[super->n_filters];
		if (plan_filter(super, name))
			continue;
		if (super->n_filters == SECCOMP_PROFILES)
			return err_set(err, -E2BIG, "seccomp", "%s", name);
		int r = seccomp_profile_compile(name, &filter->fd, &filter->n_instructions, err);
		if (r == 0)
			r = copy_string(filter->name, sizeof(filter->name), name);
		if (r < 0)
			return r;
		super->n_filters++;
	}
	return 0;
}

void super_stop_when_empty(struct supervisor *super)
{
	if (super->ending && super->n_sessions == 0 && !slots_are_leaving(super))
		super->loop.stop = true;
}

/* A socket for clients: whoever is in the group may connect; control decides what he may do. */
static int open_socket(struct supervisor *super, const char *name, int *ret_fd, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", super->run_fd, name);
	if (fd < 0 || (unlinkat(super->run_fd, name, 0) < 0 && errno != ENOENT))
		return err_set(err, -errno, "socket", "%s", name);
	/* Nobody else may reach it before it has its group: the mode is there from the start. */
	mode_t mask = umask(0117);
	int r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0 && (fchownat(super->run_fd, name, 0, super->keeper.gid, AT_SYMLINK_NOFOLLOW) < 0 ||
			      listen(fd, SOMAXCONN) < 0))
		r = -errno;
	if (r < 0)
		return err_set(err, r, "socket", "%s", name);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int read_boot_id(struct supervisor *super, struct err *err)
{
	_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, super->boot_id, sizeof(super->boot_id) - 1);

	super->boot_id[strcspn(super->boot_id, "\n")] = '\0';
	return n > 0 ? 0 : err_set(err, n < 0 ? -errno : -EIO, "host", "boot id");
}

static int open_null(struct supervisor *super, struct err *err)
{
	super->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return super->null_fd < 0 ? err_set(err, -errno, "host", "/dev/null") : 0;
}

/* Sessions inherit the hard limit; each has its own soft one from its template. */
static void raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int refuse_unfit_host(struct supervisor *super, struct err *err)
{
	struct super_checked *checked = &super->checked;
	size_t n = 0;
	bool missing = false;

	int r = check_host(&super->config, checked->items, MAX_CHECK_ITEMS, &n);
	if (r < 0)
		return err_set(err, r, "check", "host");
	checked->n_items = (uint32_t)n;
	super->checked_ns = boottime_ns();
	for (size_t i = 0; i < n; i++) {
		const struct check_item *item = &checked->items[i];
		if (item->state == CHECK_OK)
			continue;
		missing = missing || item->state == CHECK_MISSING;
		log_line(item->state == CHECK_MISSING ? LOG_ERR : LOG_WARNING, "%s: %s (%s)", item->name,
			item->detail, item->remedy);
	}
	return missing ? err_set(err, -EOPNOTSUPP, "check", "this host lacks what is named above") : 0;
}

/* A service manager that starts control gives it these itself. */
static int open_sockets(struct supervisor *super, struct err *err)
{
	if (super->keeper.listen_io.fd >= 0)
		return 0;
	int r = open_socket(super, "api.sock", &super->api_fd, err);
	return r < 0 ? r : open_socket(super, "stream.sock", &super->stream_fd, err);
}

static int find_programs(struct supervisor *super, struct err *err)
{
	char *control = super->keeper.program, path[512];
	const size_t size = sizeof(super->keeper.program);
	const char *dir = super->libexec_dir;

	if ((size_t)snprintf(path, sizeof(path), "%s/carrel-init", dir) >= sizeof(path) ||
		(size_t)snprintf(control, size, "%s/carrel-control", dir) >= size)
		return err_set(err, -ENAMETOOLONG, "host", "%s", dir);
	return spawn_seal_init(path, &super->init_fd, err);
}

static int open_host(struct supervisor *super, struct err *err)
{
	static int (*const stages[])(struct supervisor *, struct err *) = { read_boot_id, open_null, spawn_open,
		make_mount_namespace, keeper_open, open_directories, take_locks, refuse_unfit_host, cgroup_open,
		compile_filters, network_open, open_sockets, find_programs };
	int r = 0;

	raise_open_files();
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(stages); i++)
		r = stages[i](super, err);
	return r;
}

/* ---- stage 5 ---- */

static void end_all(struct supervisor *super)
{
	super->ending = true;
	log_line(LOG_INFO, "ending %zu sessions", super->n_sessions);
	for (struct session *s = super->sessions, *next; s; s = next) {
		next = s->next;
		session_end(s);
	}
	slots_close(super);
	super_stop_when_empty(super);
}

static void on_signal(struct loop_io *io, uint32_t revents _unused_)
{
	struct supervisor *super = container_of(io, struct supervisor, signal_io);
	struct signalfd_siginfo info;

	while (read(io->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGTERM)
			super->loop.stop = true;
		else if (info.ssi_signo == SIGINT && !super->ending)
			end_all(super);
	}
}

static int open_loop(struct supervisor *super, struct err *err)
{
	sigset_t signals;

	/* Signals are read, never handled: no code runs between two instructions (OpenSSH's CVE-2024-6387). */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	/* A log that nobody reads any more is an error, not the end. */
	sigaddset(&signals, SIGPIPE);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	int r = loop_open(&super->loop);
	if (r < 0)
		return err_set(err, r, "start", "event loop");
	super->signal_io =
		(struct loop_io){ .fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), .fn = on_signal };
	r = super->signal_io.fd < 0 ? -errno : loop_watch(&super->loop, &super->signal_io, EPOLLIN);
	return r < 0 ? err_set(err, r, "start", "signals") : 0;
}

/* After SIGINT: nothing of carrel's is left on the host but the state directory. */
static void leave_nothing(struct supervisor *super)
{
	static const char *const files[] = { "api.sock", "stream.sock", "ledger", "lock" };
	struct err err;
	char text[512];

	cgroup_remove_root(super);
	if (netns_unload_policy(super->netns, &err) < 0)
		log_line(LOG_WARNING, "%s", err_text(&err, text, sizeof(text)));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlinkat(super->run_fd, files[i], 0);
	unlinkat(super->run_fd, "sessions", AT_REMOVEDIR);
	/* The service manager's where it starts control, whose last command may be about to be given it. */
	if (super->keeper.listen_io.fd < 0)
		unlinkat(super->run_fd, "endpoints", AT_REMOVEDIR);
	if (network_lock_name(text, sizeof(text)) == 0)
		unlink(text);
}

static void write_status(struct service *service, char text[static SERVICE_STATUS_SIZE])
{
	const struct supervisor *super = container_of(service, struct supervisor, service);

	snprintf(text, SERVICE_STATUS_SIZE, "%zu session%s", super->n_sessions, super->n_sessions == 1 ? "" : "s");
}

static int serve(struct supervisor *super, struct err *err)
{
	service_open(&super->service);
	int r = open_loop(super, err);
	if (r == 0)
		r = privilege_trim(err);
	if (r == 0)
		r = open_host(super, err);
	if (r < 0)
		return r;
	r = ledger_open(super->run_fd, config_slots(&super->config), super->boot_id, &super->ledger);
	if (r == 0)
		r = slots_open(super);
	if (r == 0) {
		/* It has to begin, too, and waits then until it is answered. */
		keeper_start(super);
		r = adopt_all(super);
		if (r < 0)
			keeper_stop(super);
	}
	if (r < 0)
		return err_set(err, r, "ledger", "%s/ledger%s", super->config.run_dir,
			r == -EPROTONOSUPPORT ? " is a later version's, which alone can take its sessions over" : "");
	volumes_delete(super);
	slots_refill_later(super);
	service_ready(&super->service, &super->loop, write_status);
	log_line(LOG_INFO, "carreld %s: %zu templates, %zu sessions adopted, %s/api.sock", carrel_version,
		super->config.n_templates, super->n_sessions, super->config.run_dir);
	r = loop_run(&super->loop);
	if (r < 0)
		return err_set(err, r, "serve", "event loop");
	keeper_stop(super);
	slots_close(super);
	return 0;
}

int main(int argc, char **argv)
{
	struct supervisor super = { .started_ns = boottime_ns(), .deletion_io.fd = -1, .flush_io.fd = -1 };
	struct options options;
	struct err err;
	char message[1024];

	/* Directories of a session's cgroup are looked through by its ids, and it begins with this mask. */
	umask(0022);
	setvbuf(stderr, NULL, _IOLBF, 0);
	int r = parse_options(argc, argv, &options);
	if (r > 0)
		return r - 1;
	super.config_dir = options.config_dir;
	super.libexec_dir = options.libexec_dir;
	if (config_load(options.config_dir, &super.config, message, sizeof(message)) < 0) {
		log_line(LOG_ERR, "%s/%s", options.config_dir, message);
		return 1;
	}
	if (options.check)
		return print_check(&super.config, options.json);
	if (geteuid() != 0) {
		log_line(LOG_ERR, "carreld must be started as root");
		return 1;
	}
	r = serve(&super, &err);
	if (r < 0) {
		log_line(LOG_ERR, "%s", err_text(&err, message, sizeof(message)));
		return 1;
	}
	if (super.ending)
		leave_nothing(&super);
	log_line(LOG_INFO, "%s", super.ending ? "ended, nothing is left" : "ended, sessions go on");
	return 0;
}
