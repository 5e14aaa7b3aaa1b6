/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image of sessions with a Docker daemon of their own: Debian's packages, what tells the daemons how to run here,
 * and carrel-dind, which starts them.
 */
#include <fcntl.h>

#include "cli/image.h"
#include "cli/tree.h"

#define LAUNCHER "carrel-dind"

/*
 * The driver is named so that dockerd fails where it does not work, and does not fall back to copying whole trees. Logs
 * of containers have a bound, so that a chatty one does not fill the disk that images need.
 */
static const char daemon_json[] = "{\n"
				  "\t\"storage-driver\": \"overlay2\",\n"
				  "\t\"exec-opts\": [\"native.cgroupdriver=cgroupfs\"],\n"
				  "\t\"log-driver\": \"json-file\",\n"
				  "\t\"log-opts\": {\"max-size\": \"16m\", \"max-file\": \"2\"}\n"
				  "}\n";

/* What dockerd does not use takes time to start, and some of it needs devices. */
static const char containerd_toml[] = "version = 2\n"
				      "root = \"/var/lib/docker/containerd\"\n"
				      "state = \"/run/containerd\"\n"
				      "disabled_plugins = [\n"
				      "\t\"io.containerd.grpc.v1.cri\",\n"
				      "\t\"io.containerd.internal.v1.opt\",\n"
				      "\t\"io.containerd.internal.v1.restart\",\n"
				      "\t\"io.containerd.internal.v1.tracing\",\n"
				      "\t\"io.containerd.tracing.processor.v1.otlp\",\n"
				      "\t\"io.containerd.snapshotter.v1.aufs\",\n"
				      "\t\"io.containerd.snapshotter.v1.btrfs\",\n"
				      "\t\"io.containerd.snapshotter.v1.devmapper\",\n"
				      "\t\"io.containerd.snapshotter.v1.native\",\n"
				      "\t\"io.containerd.snapshotter.v1.zfs\",\n"
				      "]\n"
				      "[grpc]\n"
				      "\taddress = \"/run/containerd/containerd.sock\"\n"
				      "[ttrpc]\n"
				      "\taddress = \"/run/containerd/containerd.sock.ttrpc\"\n";

/* clang-format off */
static const struct {
	const char *path;
	mode_t mode;
} dirs[] = {
	{ "etc/docker",     0755 },
	{ "etc/containerd", 0755 },
	{ "var/lib/docker", 0710 },	/* covered by the session's scratch */
	{ "workspace",      0755 },
};

static const struct {
	const char *path, *text;
} files[] = {
	{ "etc/docker/daemon.json",     daemon_json },
	{ "etc/containerd/config.toml", containerd_toml },
};
/* clang-format on */

static int open_libexec(const struct build *build, struct failure *why)
{
	int fd = open(build->libexec_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? build_failed(why, -errno, "open", build->libexec_dir) : fd;
}

/* The packages decide what an image is, and so do the files that are added to them. */
static int add_to_key(struct build *build, uint64_t *key, struct failure *why)
{
	uint64_t launcher;

	_close_ int libexec = open_libexec(build, why);
	if (libexec < 0)
		return libexec;
	int r = tree_hash(libexec, LAUNCHER, &launcher);
	if (r < 0)
		return build_failed(why, r, "read", LAUNCHER);
	*key = hash_bytes(*key, &launcher, sizeof(launcher));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		*key = hash_bytes(*key, files[i].text, strlen(files[i].text));
	return 0;
}

int foresee_dind(struct build *build, uint64_t *ret_key, struct failure *why)
{
	uint64_t key = 0;
	int r = foresee_debian(build, &key, why);

	if (r == 0)
		r = add_to_key(build, &key, why);
	if (r == 0)
		*ret_key = key;
	return r;
}

int build_dind(struct build *build, struct failure *why)
{
	int r = build_debian(build, why);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		r = make_dir(build->root_fd, dirs[i].path, dirs[i].mode, 0);
		if (r < 0)
			return build_failed(why, r, "make", dirs[i].path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		r = write_file(build->root_fd, files[i].path, 0644, files[i].text);
		if (r < 0)
			return build_failed(why, r, "write", files[i].path);
	}
	_close_ int libexec = open_libexec(build, why);
	if (libexec < 0)
		return libexec;
	r = tree_copy(libexec, LAUNCHER, build->root_fd, "usr/local/bin/" LAUNCHER);
	if (r < 0)
		return build_failed(why, r, "copy", LAUNCHER);
	return add_to_key(build, &build->key, why);
}
