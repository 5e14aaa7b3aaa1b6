/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images made of what the host has: "minimal" (busybox alone) and "host" (an empty /usr, over which the template shows
 * the host's own, read-only). Never the host's root itself: that would show every file that all users may read.
 */
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "cli/image.h"
#include "cli/program.h"
#include "cli/tree.h"

/* clang-format off */
/* Nobody has a password. */
static const char passwd[] =
	"root:*:0:0:root:/root:/bin/sh\n"
	"daemon:*:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
	"bin:*:2:2:bin:/bin:/usr/sbin/nologin\n"
	"sys:*:3:3:sys:/dev:/usr/sbin/nologin\n"
	"mail:*:8:8:mail:/var/mail:/usr/sbin/nologin\n"
	"www-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n"
	"_apt:*:42:65534::/nonexistent:/usr/sbin/nologin\n"
	IMAGE_USER ":*:1000:1000::/home/" IMAGE_USER ":/bin/sh\n"
	"nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

static const char group[] =
	"root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nkmem:x:15:\n"
	"www-data:x:33:\nshadow:x:42:\nutmp:x:43:\nvideo:x:44:\naudio:x:29:\nstaff:x:50:\nusers:x:100:\n"
	"docker:x:999:\n" IMAGE_USER ":x:1000:\nnogroup:x:65534:\n";

static const char nsswitch[] =
	"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\n"
	"services: files\nethers: files\nrpc: files\n";

/* Every tree has these; the mount points among them are covered in a session. */
static const struct {
	const char *path;
	mode_t mode;
	uid_t owner;
} skeleton_dirs[] = {
	{ "dev", 0755, 0 },
	{ "etc", 0755, 0 },
	{ "home", 0755, 0 },
	{ "home/" IMAGE_USER, 0700, IMAGE_UID },
	{ "mnt", 0755, 0 },
	{ "opt", 0755, 0 },
	{ "proc", 0555, 0 },
	{ "root", 0700, 0 },
	{ "run", 0755, 0 },
	{ "srv", 0755, 0 },
	{ "sys", 0555, 0 },
	{ "tmp", 01777, 0 },
	{ "usr", 0755, 0 },
	{ "var", 0755, 0 },
	{ "var/cache", 0755, 0 },
	{ "var/lib", 0755, 0 },
	{ "var/log", 0755, 0 },
	{ "var/tmp", 01777, 0 },
};

static const struct {
	const char *path;
	mode_t mode;
	const char *text;
} skeleton_files[] = {
	{ "etc/passwd", 0644, passwd },
	{ "etc/group", 0644, group },
	{ "etc/nsswitch.conf", 0644, nsswitch },
	{ "etc/hosts", 0644, "127.0.0.1 localhost\n::1 localhost\n" },
	{ "etc/hostname", 0644, "" },	/* these and resolv.conf are written for each session */
	{ "etc/resolv.conf", 0644, "" },
	{ "etc/machine-id", 0444, "" },
};

/* What programs below /usr expect to find beside it. Copied only as far as every user of the host may read it. */
static const char *const host_paths[] = {
	"etc/ld.so.cache",		/* without it the loader does not find libraries outside the default directories */
	"etc/ld.so.conf",		/* the same, for ldconfig */
	"etc/ld.so.conf.d",		/* the same */
	"etc/alternatives",		/* many names in /usr/bin lead through it */
	"etc/ssl/certs",		/* whom to trust */
	"etc/ssl/openssl.cnf",		/* OpenSSL complains without it */
	"etc/ca-certificates.conf",	/* belongs to the certificates */
	"etc/fonts",			/* fontconfig finds no font without it */
	"var/cache/fontconfig",		/* a browser's first start would make it anew */
	"etc/chromium",			/* the distribution's defaults */
	"etc/protocols",		/* getprotobyname(3) */
	"etc/services",			/* getservbyname(3) */
	"etc/ethertypes",		/* iptables */
	"etc/gai.conf",			/* getaddrinfo(3) */
	"etc/mime.types",		/* what files are */
	"etc/localtime",		/* the time zone */
	"etc/profile",			/* login shells */
	"etc/bash.bashrc",		/* shells */
	"etc/inputrc",			/* readline */
	"etc/terminfo",			/* terminals */
	"etc/shells",			/* login shells */
	"etc/os-release",		/* a link into /usr */
	"etc/debian_version",		/* what programs look at to know where they are */
};

/* A merged /usr (file-hierarchy(7)) has these as links into it; a host without it cannot lend its /usr. */
static const char *const merged[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };
/* clang-format on */

int build_failed(struct failure *why, int num, const char *what, const char *object)
{
	failure_set(why, EXIT_REFUSED, num, "cannot %s %s", what, object);
	failure_add(why, "step", "build");
	return num;
}

static int make_skeleton(const struct build *build, struct failure *why)
{
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(skeleton_dirs); i++) {
		r = make_dir(build->root_fd, skeleton_dirs[i].path, skeleton_dirs[i].mode, skeleton_dirs[i].owner);
		if (r < 0)
			return build_failed(why, r, "make", skeleton_dirs[i].path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(skeleton_files); i++) {
		r = write_file(
			build->root_fd, skeleton_files[i].path, skeleton_files[i].mode, skeleton_files[i].text);
		if (r < 0)
			return build_failed(why, r, "write", skeleton_files[i].path);
	}
	if (symlinkat("/run", build->root_fd, "var/run") < 0)
		return build_failed(why, -errno, "make", "var/run");
	return 0;
}

/* The key of an image that is made at once is the hash of what came out. */
static int finish(struct build *build, struct failure *why)
{
	int r = tree_hash(build->root_fd, ".", &build->key);

	return r < 0 ? build_failed(why, r, "read", "the new tree") : 0;
}

int build_host(struct build *build, struct failure *why)
{
	struct stat st;

	progress_phase(build->progress, "copying what /usr needs");
	_close_ int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (host < 0)
		return build_failed(why, -errno, "open", "/");
	int r = make_skeleton(build, why);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(merged); i++) {
		if (fstatat(host, merged[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!S_ISLNK(st.st_mode)) {
			r = build_failed(why, -ENOTSUP, "lend this host's /usr: it is not merged with", merged[i]);
			failure_add(why, "hint", "build another image: `carrel image build --help`");
			return r;
		}
		r = tree_copy(host, merged[i], build->root_fd, merged[i]);
		if (r < 0)
			return build_failed(why, r, "copy", merged[i]);
	}
	/* tree_copy() makes no parents. */
	r = make_dir(build->root_fd, "etc/ssl", 0755, 0);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(host_paths); i++) {
		r = tree_copy(host, host_paths[i], build->root_fd, host_paths[i]);
		if (r < 0)
			return build_failed(why, r, "copy", host_paths[i]);
	}
	return r < 0 ? build_failed(why, r, "make", "etc/ssl") : finish(build, why);
}

/* True for a program that needs no loader: an ELF file for 64 bits without a PT_INTERP segment. */
static bool is_static(int fd)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
		header.e_ident[EI_CLASS] != ELFCLASS64)
		return false;
	for (size_t i = 0; i < header.e_phnum; i++) {
		off_t at = (off_t)(header.e_phoff + i * sizeof(segment));
		if (pread(fd, &segment, sizeof(segment), at) != sizeof(segment) || segment.p_type == PT_INTERP)
			return false;
	}
	return true;
}

/* The directory and name of the host's static busybox. 0, or -ENOENT. */
static int find_busybox(const char **ret_path)
{
	static const char *const paths[] = { "usr/bin/busybox", "bin/busybox", "usr/lib/busybox/busybox" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/%s", paths[i]);
		_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && is_static(fd)) {
			*ret_path = paths[i];
			return 0;
		}
	}
	return -ENOENT;
}

struct applets {
	int bin_fd;
	int error; /* the first, a negative errno */
};

static void link_applet(void *context, char *name)
{
	struct applets *applets = context;

	if (!*name || strchr(name, '/') || streq(name, "busybox"))
		return;
	if (symlinkat("busybox", applets->bin_fd, name) < 0 && errno != EEXIST && applets->error == 0)
		applets->error = -errno;
}

static int install_busybox(const struct build *build, const char *path, struct failure *why)
{
	char program[64];
	const char *const list[] = { program, "--list", NULL };
	int r;

	snprintf(program, sizeof(program), "/%s", path);
	_close_ int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (host < 0)
		return build_failed(why, -errno, "open", "/");
	r = make_dir(build->root_fd, "usr/bin", 0755, 0);
	if (r == 0)
		r = tree_copy(host, path, build->root_fd, "usr/bin/busybox");
	if (r < 0)
		return build_failed(why, r, "copy", program);
	_close_ int bin = openat(build->root_fd, "usr/bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct applets applets = { .bin_fd = bin };
	if (bin < 0)
		return build_failed(why, -errno, "open", "usr/bin");
	r = program_run(list, link_applet, &applets, why);
	if (r < 0)
		return r;
	return applets.error < 0 ? build_failed(why, applets.error, "link", "busybox's applets") : 0;
}

int build_minimal(struct build *build, struct failure *why)
{
	static const struct {
		const char *name, *target;
	} links[] = { { "bin", "usr/bin" }, { "sbin", "usr/bin" }, { "usr/sbin", "bin" } };
	const char *path;

	progress_phase(build->progress, "copying busybox");
	int r = find_busybox(&path);
	if (r < 0) {
		build_failed(why, r, "find", "a busybox that is statically linked");
		failure_add(why, "hint", "install the Debian package busybox-static");
		return r;
	}
	r = make_skeleton(build, why);
	if (r == 0)
		r = install_busybox(build, path, why);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		if (symlinkat(links[i].target, build->root_fd, links[i].name) < 0)
			return build_failed(why, -errno, "make", links[i].name);
	return finish(build, why);
}
