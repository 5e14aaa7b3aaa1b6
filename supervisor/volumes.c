/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: which session holds which is in the ledger with the session, so that no crash leaves one held by nobody. A
 * volume that is removed is out of the way at once; its files are deleted in the background (rootfs/volumes.h).
 */
#include "rootfs/volumes.h"

#include <sys/wait.h>
#include <syslog.h>

#include "netns/userns.h"
#include "supervisor/supervisor.h"

/* systemd's range for files that belong to no user of the host (its UIDS-GIDS document): nobody else runs with these. */
#define FOREIGN_IDS 2147352576U

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
	struct making *m = session->making;

	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++) {
		const char *name = session->entry.volumes[i];
		if (!name[0])
			continue;
		const struct config_volume *volume = &session->template->volumes[i];
		const struct volume_root root = { volume->mode, volume->uid, volume->gid };
		int r = volume_open(
			session->super->volumes_fd, name, &root, session->net.user_fd, &m->mounts[m->n_mounts], err);
		if (r < 0)
			return r;
		m->n_mounts++;
	}
	return 0;
}

static void on_deleted(struct loop_io *io, uint32_t revents _unused_)
{
	struct supervisor *super = container_of(io, struct supervisor, deletion_io);
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)io->fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
		return;
	loop_remove(&super->loop, io);
	close_fdp(&io->fd);
	if (info.si_code != CLD_EXITED || info.si_status != 0)
		log_line(LOG_WARNING, "volumes: files of a removed one could not be deleted (status %d)",
			info.si_status);
	if (super->delete_again)
		volumes_delete(super);
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
		log_line(LOG_WARNING, "volumes: files of a removed one cannot be deleted: %s", strerror(-r));
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
