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

int memfd_make(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
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

	_free_ char *text = malloc(bytes);
	if (!text)
		return -ENOMEM;
	memcpy(text, &h, sizeof(h));
	put_strings(put_strings(text + sizeof(h), argv), envp);
	_close_ int fd = memfd_make("spec");
	if (fd < 0)
		return fd;
	/* Written, which is half the time of a mapping; what was cut short is what the host had no memory for. */
	ssize_t n = RETRY_EINTR(write(fd, text, bytes));
	if (n != (ssize_t)bytes)
		return n < 0 ? -errno : -ENOMEM;
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

/* Of argv and envp together, which are one mapping: init has no other use for malloc. */
static size_t pointers_size(const struct spec_header *header)
{
	return (header->argc + (size_t)1 + header->envc + 1) * sizeof(char *);
}

static int map_pointers(struct spec *spec)
{
	void *pointers =
		mmap(NULL, pointers_size(spec->header), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pointers == MAP_FAILED)
		return -errno;
	spec->argv = pointers;
	spec->envp = spec->argv + spec->header->argc + 1;
	return 0;
}

int spec_read(int fd, struct spec *ret)
{
	struct spec spec = { 0 };
	struct stat st;

	/* Only a memfd has seals. With these its size and bytes stay as they are and can be used in place. */
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SPEC_SEALS) != SPEC_SEALS)
		return -EPROTO;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(struct spec_header) || st.st_size > SPEC_MAX_BYTES)
		return -EPROTO;

	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	spec.map = map;
	spec.map_size = (size_t)st.st_size;
	spec.header = map;
	int r = header_is_valid(spec.header) ? map_pointers(&spec) : -EPROTO;
	if (r == 0)
		r = spec_parse(spec.map, spec.map_size, spec.argv, spec.envp);
	if (r < 0) {
		spec_release(&spec);
		return r;
	}
	*ret = spec;
	return 0;
}

void spec_release(struct spec *spec)
{
	if (spec->argv)
		munmap(spec->argv, pointers_size(spec->header));
	if (spec->map)
		munmap(spec->map, spec->map_size);
	*spec = (struct spec){ 0 };
}
