/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/spec.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Linux 6.3; include/uapi/linux/memfd.h. Older kernels answer EINVAL, older headers do not know it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum {
	SPEC_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL,
	SPEC_FLAGS = SPEC_TTY | SPEC_CDP_PIPE,
};

/* What a header must be, whoever wrote it; the strings behind it are not looked at. */
static bool header_is_valid(const struct spec_header *h)
{
	return h->magic == SPEC_MAGIC && h->version == SPEC_VERSION && h->total_bytes >= sizeof(*h) &&
	       h->total_bytes <= SPEC_MAX_BYTES && (h->flags & ~(uint32_t)SPEC_FLAGS) == 0 &&
	       h->n_groups <= SPEC_MAX_GROUPS && h->argc >= 1 && h->argc <= SPEC_MAX_STRINGS &&
	       h->envc <= SPEC_MAX_STRINGS && is_terminated(h->user, sizeof(h->user)) &&
	       is_terminated(h->cwd, sizeof(h->cwd)) && h->cwd[0] == '/';
}

/* Counts strings and adds their sizes to *BYTES. 0, -E2BIG past a limit, -EINVAL for an assignment without '='. */
static int measure(char *const strings[], bool assignments, uint32_t *count, size_t *bytes)
{
	for (*count = 0; strings[*count]; ++*count) {
		size_t n = strnlen(strings[*count], SPEC_MAX_BYTES) + 1;
		if (*count == SPEC_MAX_STRINGS || n > SPEC_MAX_BYTES - *bytes)
			return -E2BIG;
		if (assignments && !strchr(strings[*count], '='))
			return -EINVAL;
		*bytes += n;
	}
	return 0;
}

static char *put_strings(char *at, char *const strings[])
{
	for (size_t i = 0; strings[i]; i++) {
		size_t n = strlen(strings[i]) + 1;
		memcpy(at, strings[i], n);
		at += n;
	}
	return at;
}

static int write_all(int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t written = RETRY_EINTR(write(fd, bytes, n));
		if (written < 0)
			return -errno;
		bytes += written;
		n -= (size_t)written;
	}
	return 0;
}

/* A memfd that nobody can execute, where the kernel knows of such; vm.memfd_noexec=2 insists on it. */
static int make_memfd(void)
{
	int fd = memfd_create("spec", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("spec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

int spec_write(const struct spec_header *header, char *const argv[], char *const envp[])
{
	struct spec_header h = *header;
	size_t bytes = sizeof(h);

	int r = measure(argv, false, &h.argc, &bytes);
	if (r == 0)
		r = measure(envp, true, &h.envc, &bytes);
	if (r < 0)
		return r;
	h.magic = SPEC_MAGIC;
	h.version = SPEC_VERSION;
	h.total_bytes = (uint32_t)bytes;
	if (!header_is_valid(&h))
		return -EINVAL;

	_free_ char *buffer = malloc(bytes);
	if (!buffer)
		return -ENOMEM;
	memcpy(buffer, &h, sizeof(h));
	put_strings(put_strings(buffer + sizeof(h), argv), envp);

	_close_ int fd = make_memfd();
	if (fd < 0)
		return fd;
	r = write_all(fd, buffer, bytes);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, SPEC_SEALS) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* Points N entries of STRINGS, and a NULL after them, at what is at *AT. -EPROTO when that passes END. */
static int split(const char **at, const char *end, uint32_t n, bool assignments, char **strings)
{
	for (uint32_t i = 0; i < n; i++) {
		const char *nul = memchr(*at, '\0', (size_t)(end - *at));
		if (!nul || (assignments && !memchr(*at, '=', (size_t)(nul - *at))))
			return -EPROTO;
		/* execve(2) takes pointers to char, and writes through none of them. */
		strings[i] = (char *)(uintptr_t)*at;
		*at = nul + 1;
	}
	strings[n] = NULL;
	return 0;
}

int spec_parse(const void *bytes, size_t n, char **argv, char **envp)
{
	const struct spec_header *h = bytes;

	if (n < sizeof(*h) || !header_is_valid(h) || h->total_bytes != n)
		return -EPROTO;
	const char *at = (const char *)bytes + sizeof(*h), *end = (const char *)bytes + n;
	int r = split(&at, end, h->argc, false, argv);
	if (r == 0)
		r = split(&at, end, h->envc, true, envp);
	if (r == 0 && at != end)
		r = -EPROTO;
	return r;
}

int spec_read(int fd, struct spec *ret)
{
	struct spec spec = { .map = MAP_FAILED };
	struct stat st;

	/* Only a memfd has seals. With these its size and bytes stay as they are and can be used in place. */
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SPEC_SEALS) != SPEC_SEALS)
		return -EPROTO;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(struct spec_header) || st.st_size > SPEC_MAX_BYTES)
		return -EPROTO;

	spec.map_size = (size_t)st.st_size;
	spec.map = mmap(NULL, spec.map_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (spec.map == MAP_FAILED)
		return -errno;
	spec.header = spec.map;
	int r = -EPROTO;
	if (header_is_valid(spec.header)) {
		spec.argv = calloc(spec.header->argc + (size_t)1, sizeof(char *));
		spec.envp = calloc(spec.header->envc + (size_t)1, sizeof(char *));
		r = spec.argv && spec.envp ? spec_parse(spec.map, spec.map_size, spec.argv, spec.envp) : -ENOMEM;
	}
	if (r < 0) {
		spec_release(&spec);
		return r;
	}
	*ret = spec;
	return 0;
}

void spec_release(struct spec *spec)
{
	if (spec->map)
		munmap(spec->map, spec->map_size);
	free(spec->argv);
	free(spec->envp);
	*spec = (struct spec){ 0 };
}
