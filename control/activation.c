/* SPDX-License-Identifier: Apache-2.0 */
#include "control/activation.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "wire/def.h"
#include "wire/service.h"

enum { OUT_OF_THE_WAY = 64 }; /* no descriptor that has a place is as high */

static int connect_supervisor(const char *run_dir)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/control.sock", run_dir);

	if ((size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return steal_fd(&fd);
}

int activation_arrange(const char *run_dir, int channel_fd, int api_fd, int stream_fd)
{
	const int places[] = { channel_fd, api_fd, stream_fd };
	const int named[] = { -1, service_socket("api"), service_socket("stream") };
	int high[ARRAY_SIZE(places)];

	if (named[1] < 0)
		return 0;
	/* All of them away from the places first: one may stand where another belongs. */
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		_close_ int channel = i == 0 ? connect_supervisor(run_dir) : -1;
		const int fd = i == 0 ? channel : named[i];
		if (fd < 0)
			return i == 0 ? fd : -ENOENT;
		high[i] = fcntl(fd, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
		if (high[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (dup3(high[i], places[i], O_CLOEXEC) < 0)
			return -errno;
	return 0; /* the copies go with everything that has no place */
}
