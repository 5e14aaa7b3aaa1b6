/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a session: every host resource it has, in the order in which they are taken, with how each is given
 * back. Creation runs the column "run" downwards, the end of a session and the recovery from a crash run the column
 * "undo" upwards. An undo must cope with a step that was only begun, with one that was done, and with being called
 * again.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "rootfs/rootfs.h"
#include "supervisor/supervisor.h"

/* ---- slot: a number, its host ids, addresses and interface name ---- */

/* What the dead have left unsent keeps their network namespace for minutes (tcp_orphan_retries); not their interface. */
#define LINK_PATIENCE_NS (3 * NS_PER_SEC)

static int run_slot(struct session *session, struct err *err)
{
	int r = slots_take(session->super, session->template, &session->net);
	if (r < 0)
		return err_set(err, r, "slot", "%u sessions", session->super->config.max_sessions);
	session->entry.slot = session->net.slot;
	session->super->by_slot[session->entry.slot] = session;
	return 0;
}

static int undo_slot(struct session *session)
{
	struct supervisor *super = session->super;
	uint32_t slot = session->entry.slot;

	if (slot == 0)
		return 0;
	/* A network that was made ahead came with the number, whether or not its own step was reached. */
	netns_slot_release(&session->net);
	/* The kernel takes the interface away a moment after the namespace died; slots_link_gone() comes back here. */
	int r = netns_slot_exists(super->netns, slot);
	if (r > 0 && session->link_deadline_ns == 0) {
		session->link_deadline_ns = boottime_ns() + LINK_PATIENCE_NS;
		session_retry_later(session, LINK_PATIENCE_NS);
	} else if (r > 0 && boottime_ns() >= session->link_deadline_ns) {
		r = netns_slot_cut(super->netns, slot);
	}
	if (r != 0)
		return r < 0 ? r : -EAGAIN;
	super->by_slot[slot] = NULL;
	slots_give_back(super, slot);
	return 0;
}

/* ---- directory: <run_dir>/sessions/<id> with init's socket and the output file ---- */

static int listen_in(int dir_fd, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	/* Through the descriptor: however long the run directory's path is, this fits. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/init.sock", dir_fd);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int run_directory(struct session *session, struct err *err)
{
	struct supervisor *super = session->super;
	const char *id = session->entry.id;

	if (mkdirat(super->sessions_fd, id, 0700) < 0)
		return err_set(err, -errno, "directory", "sessions/%s", id);
	session->dir_fd = openat(super->sessions_fd, id, OPEN_DIR);
	if (session->dir_fd < 0)
		return err_set(err, -errno, "directory", "sessions/%s", id);
	int r = listen_in(session->dir_fd, &session->making->listen_fd);
	if (r < 0)
		return err_set(err, r, "directory", "sessions/%s/init.sock", id);
	r = session_connect(session, &session->making->init_fd);
	if (r < 0)
		return err_set(err, r, "directory", "sessions/%s/init.sock", id);
	session->making->output_fd =
		openat(session->dir_fd, "output", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return session->making->output_fd < 0 ? err_set(err, -errno, "directory", "sessions/%s/output", id) : 0;
}

static int undo_directory(struct session *session)
{
	static const char *const files[] = { "init.sock", "output" };
	struct supervisor *super = session->super;

	/* How it ended is in there, and whoever is control when that is asked for must be able to read it. */
	if (session->entry.live && !session->noted && !super->ending)
		return -EAGAIN;
	if (session->dir_fd < 0)
		session->dir_fd = openat(super->sessions_fd, session->entry.id, OPEN_DIR);
	if (session->dir_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (unlinkat(session->dir_fd, files[i], 0) < 0 && errno != ENOENT)
			return -errno;
	close_fdp(&session->dir_fd);
	if (unlinkat(super->sessions_fd, session->entry.id, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

/* ---- cgroup ---- */

static void on_cgroup_event(struct loop_io *io, uint32_t revents _unused_)
{
	session_advance(container_of(io, struct session, events_io));
}

static int undo_cgroup(struct session *session)
{
	struct loop *loop = &session->super->loop;
	int r = cgroup_remove(session);

	if (r == -EAGAIN && session->events_io.fd < 0) {
		/* Something in there is still dying: cgroup.events raises POLLPRI when it changes. */
		session->events_io = (struct loop_io){ .fn = on_cgroup_event };
		session->events_io.fd = openat(session->cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
		if (session->events_io.fd < 0)
			return -errno;
		int w = loop_watch(loop, &session->events_io, EPOLLPRI);
		if (w < 0)
			return w;
		/* It may have emptied before it was watched. */
		r = cgroup_remove(session);
	}
	if (r != -EAGAIN) {
		loop_remove(loop, &session->events_io);
		close_fdp(&session->events_io.fd);
	}
	return r;
}

/* ---- network ---- */

static int run_network(struct session *session, struct err *err)
{
	struct supervisor *super = session->super;
	int r = 0;

	if (session->net.net_fd < 0)
		r = slots_make_network(super, session->template, session->entry.slot, &session->net, err);
	if (r == 0)
		r = network_set_rates(session, &session->entry.limits, err);
	return r < 0 ? r : netns_set_policy(super->netns, &session->net, session->making->policy, err);
}

static int undo_network(struct session *session)
{
	const uint64_t *limits = session->entry.limits.value;
	const bool is_limited = limits[LIMIT_NETWORK_TX] != LIMIT_UNSET || limits[LIMIT_NETWORK_RX] != LIMIT_UNSET;

	netns_slot_release(&session->net);
	/* When all ends, the rules do, too. */
	return is_limited && !session->super->ending
		       ? netns_set_rates(session->super->netns, session->entry.slot, 0, 0, NULL)
		       : 0;
}

/* ---- rootfs: detached mounts, which go away with their descriptors; what was written to volumes is to stay ---- */

static int run_rootfs(struct session *session, struct err *err)
{
	const struct template *t = session->template;
	struct supervisor *super = session->super;
	struct making *m = session->making;
	int r;

	r = rootfs_layers(
		super->store_fd, t->image, session->net.user_fd, m->mounts, PLAN_MAX_LAYERS, &m->n_layers, err);
	if (r < 0)
		return r;
	m->n_mounts = m->n_layers;
	for (size_t i = 0; i < t->n_mounts; i++) {
		const struct config_mount *mount = &t->mounts[i];
		int *ret_fd = &m->mounts[m->n_mounts];
		if (mount->kind == MOUNT_TMPFS)
			continue;
		r = mount->kind == MOUNT_SCRATCH
			    ? rootfs_scratch(super->store_fd, mount->bytes, session->net.user_fd, ret_fd, err)
			    : rootfs_bind(mount->source, session->net.user_fd, !mount->read_only, mount->suid, ret_fd,
				      err);
		if (r < 0)
			return r;
		m->n_mounts++;
	}
	r = volumes_open(session, err);
	return r < 0 ? r : rootfs_dev_make(session->net.user_fd, &m->dev_fd, err);
}

static int undo_rootfs(struct session *session)
{
	making_free(session->making);
	session->making = NULL;
	return volumes_flush(session);
}

/* ---- init ---- */

static int run_init(struct session *session, struct err *err)
{
	return spawn_init(session, err);
}

static int undo_init(struct session *session)
{
	loop_remove(&session->super->loop, &session->channel_io);
	close_fdp(&session->channel_io.fd);
	loop_disarm(&session->super->loop, &session->timer);
	/* Kills init and with it, by the kernel's rule for PID 1, everything in its pid namespace. */
	cgroup_kill(session);
	if (session->init_io.fd < 0)
		return 0;
	syscall(SYS_pidfd_send_signal, session->init_io.fd, SIGKILL, NULL, 0);
	/* The pidfd is readable once init is dead; session_watch() has it in the loop. */
	return -EAGAIN;
}

/* clang-format off */
const struct step step_table[] = {
	{ "slot",      run_slot,      undo_slot,      "a number: host ids, addresses, interface name" },
	{ "directory", run_directory, undo_directory, "run_dir/sessions/<id>: init's socket, the output file" },
	{ "cgroup",    cgroup_make,   undo_cgroup,    "sessions/<id> with its limits, and payload below it" },
	{ "network",   run_network,   undo_network,   "user and network namespace, veth, rates, egress policy" },
	{ "rootfs",    run_rootfs,    undo_rootfs,    "detached idmapped mounts of image, binds, scratch, volumes and /dev" },
	{ "init",      run_init,      undo_init,      "carrel-init in its namespaces and cgroup" },
};
/* clang-format on */
const size_t n_steps = ARRAY_SIZE(step_table);

void steps_print(FILE *out)
{
	for (size_t i = 0; i < n_steps; i++)
		fprintf(out, "| `%s` | %s |\n", step_table[i].name, step_table[i].what);
}
