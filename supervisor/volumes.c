/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: which session holds which is in the ledger with the session, so that no crash leaves one held by nobody. A
 * volume that is removed is out of the way at once; its files are deleted in the background (rootfs/volumes.h). A session
 * holds its volumes until what it wrote there is on the disk.
 */
#include "rootfs/volumes.h"

#include <sys/wait.h>
#include <syslog.h>

#include "netns/userns.h"
#include "supervisor/supervisor.h"

/* systemd's range for files that belong to no user of the host (its UIDS-GIDS document): nobody else runs with these. */
#define FOREIGN_IDS 2147352576U

enum { DELETE_AGAIN_SECONDS = 10 };

const struct session *volumes_holder(const struct supervisor *super, const char *name)
{
	for (const struct session *s = super->sessions; s; s = s->next)
		for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++)
			if (streq(s->entry.volumes[i], name))
				return s;
	return NULL;
}

int volumes_check(const struct supervisor *super, const struct super_create *request, const struct template *template,
	struct err *err)
{
	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++) {
		const char *name = request->volumes[i];
		if (!name[0])
			continue;
		if (i >= template->n_volumes)
			return err_set(err, -EPERM, "volume", "%s", name);
		for (size_t j = 0; j < i; j++)
			if (streq(request->volumes[j], name))
				return err_set(err, -EINVAL, "volume", "%s twice", name);
		if (volumes_holder(super, name))
			return err_set(err, -EBUSY, "volume", "%s", name);
	}
	return 0;
}

int volumes_open(struct session *session, struct err *err)
{
	const struct supervisor *super = session->super;
	struct making *m = session->making;

	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++) {
		const char *name = session->entry.volumes[i];
		if (!name[0])
			continue;
		const struct config_volume *volume = &session->template->volumes[i];
		const struct volume_spec spec = { volume->bytes, volume->mode, volume->uid, volume->gid };
		int r = volume_open(super->volumes_fd, super->store_fd, name, &spec, session->net.user_fd,
			&m->mounts[m->n_mounts], err);
		if (r < 0)
			return r;
		m->n_mounts++;
	}
	return 0;
}

/* ---- what ended sessions wrote ---- */

/* The process has ended whose pidfd IO is; *RET_OK: with 0. */
static bool has_ended(struct loop *loop, struct loop_io *io, bool *ret_ok)
{
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)io->fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
		return false;
	loop_remove(loop, io);
	close_fdp(&io->fd);
	*ret_ok = info.si_code == CLD_EXITED && info.si_status == 0;
	return true;
}

static void on_flushed(struct loop_io *io, uint32_t revents _unused_)
{
	struct supervisor *super = container_of(io, struct supervisor, flush_io);
	bool ok;

	if (!has_ended(&super->loop, io, &ok))
		return;
	if (!ok)
		log_line(LOG_ERR, "volumes: not everything that was written is on the disk");
	super->flushes_ended++;
	for (struct session *s = super->sessions, *next; s; s = next) {
		next = s->next;
		if (s->flush > 0)
			session_advance(s);
	}
}

/* One process at a time for all sessions: one that began before a session's end may have passed by what that wrote. */
int volumes_flush(struct session *session)
{
	static const char none[SUPER_MAX_VOLUMES][NAME_SIZE];
	struct supervisor *super = session->super;
	const bool runs = super->flush_io.fd >= 0;
	int r = 0;

	if (!session->entry.live || memcmp(session->entry.volumes, none, sizeof(none)) == 0)
		return 0;
	if (session->flush == 0)
		session->flush = super->flushes_ended + 1 + runs;
	if (super->flushes_ended >= session->flush) {
		ops_tell_volumes(session);
		return 0;
	}
	if (!runs) {
		super->flush_io.fn = on_flushed;
		r = volume_flush(super->volumes_fd, &super->flush_io.fd);
		if (r == 0)
			r = loop_watch(&super->loop, &super->flush_io, EPOLLIN);
		if (r < 0)
			close_fdp(&super->flush_io.fd);
	}
	return r < 0 ? r : -EAGAIN;
}

/* ---- removal ---- */

static void on_deletion_timer(struct loop_timer *timer)
{
	volumes_delete(container_of(timer, struct supervisor, deletion_timer));
}

static void delete_later(struct supervisor *super, const char *why)
{
	log_line(LOG_WARNING, "volumes: files of removed ones are not deleted yet: %s; trying again in %d s", why,
		DELETE_AGAIN_SECONDS);
	super->deletion_timer.fn = on_deletion_timer;
	loop_arm(&super->loop, &super->deletion_timer, boottime_ns() + DELETE_AGAIN_SECONDS * NS_PER_SEC);
}

static void on_deleted(struct loop_io *io, uint32_t revents _unused_)
{
	struct supervisor *super = container_of(io, struct supervisor, deletion_io);
	bool ok;

	if (!has_ended(&super->loop, io, &ok))
		return;
	if (super->delete_again)
		volumes_delete(super);
	else if (!ok)
		delete_later(super, "it was killed, or the disk fails");
}

static void found(const char *name _unused_, void *arg)
{
	*(bool *)arg = true;
}

void volumes_delete(struct supervisor *super)
{
	_close_ int user_fd = -1, net_fd = -1;
	bool any = false;
	struct err err;

	/* One that runs may have passed by what was just removed. */
	super->delete_again = super->deletion_io.fd >= 0;
	if (super->delete_again)
		return;
	super->deletion_io.fn = on_deleted;
	int r = volume_list(super->removed_fd, found, &any);
	if (r == 0 && !any)
		return;
	if (r == 0)
		r = userns_make(FOREIGN_IDS, &user_fd, &net_fd, &err);
	if (r == 0)
		r = volume_delete(super->removed_fd, user_fd, &super->deletion_io.fd);
	if (r == 0)
		r = loop_watch(&super->loop, &super->deletion_io, EPOLLIN);
	if (r < 0)
		delete_later(super, strerror(-r));
}

int volumes_remove(struct supervisor *super, const char *name)
{
	if (volumes_holder(super, name))
		return -EBUSY;
	int r = volume_remove(super->volumes_fd, super->removed_fd, name);
	if (r == 0)
		volumes_delete(super);
	return r;
}
