/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of this host into a tar. It belongs to the caller; links in it are not followed but sent as what they are. */
#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/pack.h"

struct packer {
	const char *path;
	struct archive *disk, *tar;
	struct archive_entry_linkresolver *links; /* names of one file */
	struct transfer *transfer;
	struct skipped skipped;
	struct failure *why;
};

static void packer_free(struct packer *packer)
{
	archive_read_free(packer->disk);
	archive_write_free(packer->tar);
	archive_entry_linkresolver_free(packer->links);
}

/* What ARCHIVE, the side that failed, says about it. */
static int failed(struct packer *packer, struct archive *archive, const char *what)
{
	int num = archive_errno(archive) > 0 ? -archive_errno(archive) : -EIO;

	return failure_set(packer->why, EXIT_REFUSED, num, "cannot %s %s: %s", what, packer->path,
		archive_error_string(archive) ? archive_error_string(archive) : strerror(-num));
}

static int send_data(struct packer *packer)
{
	const void *block;
	int64_t offset, sent = 0;
	size_t n;

	for (;;) {
		int r = archive_read_data_block(packer->disk, &block, &n, &offset);
		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_OK)
			return failed(packer, packer->disk, "read");
		/* A tar has no holes; the end of the last one is filled up by libarchive itself. */
		static const char zeros[65536];
		while (sent < offset) {
			size_t gap =
				(size_t)(offset - sent) < sizeof(zeros) ? (size_t)(offset - sent) : sizeof(zeros);
			if (archive_write_data(packer->tar, zeros, gap) < 0)
				return failed(packer, packer->tar, "send");
			sent += (int64_t)gap;
		}
		if (archive_write_data(packer->tar, block, n) < 0)
			return failed(packer, packer->tar, "send");
		sent += (int64_t)n;
		transfer_add(packer->transfer, n);
	}
}

/* ENTRY as the archive shall have it: relative to the tree, nobody's, without what this host alone understands. */
static void rename_entry(const struct packer *packer, struct archive_entry *entry)
{
	const char *name = archive_entry_pathname(entry) + strlen(packer->path);
	char path[8192];

	snprintf(path, sizeof(path), "./%s", name + strspn(name, "/"));
	archive_entry_copy_pathname(entry, path);
	archive_entry_set_uid(entry, 0);
	archive_entry_set_gid(entry, 0);
	archive_entry_copy_uname(entry, NULL);
	archive_entry_copy_gname(entry, NULL);
	archive_entry_acl_clear(entry);
	archive_entry_xattr_clear(entry);
	archive_entry_set_fflags(entry, 0, 0);
	archive_entry_sparse_clear(entry);
}

static int send_entry(struct packer *packer, struct archive_entry *entry)
{
	struct archive_entry *spare = NULL;
	mode_t type = archive_entry_filetype(entry);

	rename_entry(packer, entry);
	if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK) {
		if (packer->skipped.n++ == 0)
			snprintf(packer->skipped.first, sizeof(packer->skipped.first), "%s",
				archive_entry_pathname(entry));
		return 0;
	}
	archive_entry_linkify(packer->links, &entry, &spare);
	if (archive_write_header(packer->tar, entry) < ARCHIVE_WARN)
		return failed(packer, packer->tar, "send");
	return type == AE_IFREG && archive_entry_size(entry) > 0 ? send_data(packer) : 0;
}

static int send_all(struct packer *packer, struct archive_entry *entry)
{
	for (;;) {
		archive_entry_clear(entry);
		int r = archive_read_next_header2(packer->disk, entry);
		if (r == ARCHIVE_EOF)
			return archive_write_close(packer->tar) < ARCHIVE_WARN ? failed(packer, packer->tar, "send")
									       : 0;
		if (r < ARCHIVE_OK)
			return failed(packer, packer->disk, "read");
		archive_read_disk_descend(packer->disk);
		r = send_entry(packer, entry);
		if (r < 0)
			return r;
	}
}

int pack_tree(const char *path, int fd, struct transfer *transfer, struct skipped *ret, struct failure *why)
{
	_cleanup_(packer_free) struct packer packer = { .path = path,
		.disk = archive_read_disk_new(),
		.tar = archive_write_new(),
		.links = archive_entry_linkresolver_new(),
		.transfer = transfer,
		.why = why };
	struct archive_entry *entry = archive_entry_new();

	if (!packer.disk || !packer.tar || !packer.links || !entry) {
		archive_entry_free(entry);
		return failure_set(why, EXIT_REFUSED, -ENOMEM, "out of memory");
	}
	archive_read_disk_set_symlink_physical(packer.disk);
	archive_write_set_format_pax_restricted(packer.tar);
	archive_write_set_options(packer.tar, "hdrcharset=BINARY"); /* a name is bytes, whatever the locale */
	archive_write_set_bytes_per_block(packer.tar, 0); /* contents go out as they were read */
	archive_entry_linkresolver_set_strategy(packer.links, ARCHIVE_FORMAT_TAR);
	int r = 0;
	if (archive_read_disk_open(packer.disk, path) < ARCHIVE_OK)
		r = failed(&packer, packer.disk, "read");
	else if (archive_write_open_fd(packer.tar, fd) < ARCHIVE_OK)
		r = failed(&packer, packer.tar, "send");
	if (r == 0)
		r = send_all(&packer, entry);
	archive_entry_free(entry);
	*ret = packer.skipped;
	return r;
}
