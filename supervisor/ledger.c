/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/ledger.h"

#include <fcntl.h>

#include "version.h"

#define LEDGER_MAGIC UINT64_C(0x6c64677263727231)

enum { LEDGER_VERSION = 1 + CARREL_NEXT_FORMATS, PLACE_BYTES = 1024 };

struct ledger_head {
	uint64_t magic;
	uint32_t version, n_slots, entry_bytes, reserved;
	char boot_id[40];
};

/* One of the two places of a slot. */
struct place {
	uint64_t sequence; /* 0: never written */
	struct ledger_entry entry;
	uint8_t room[PLACE_BYTES - sizeof(struct ledger_entry) - 2 * sizeof(uint64_t)]; /* zero */
	uint64_t checksum; /* of all before it */
};
_Static_assert(sizeof(struct place) == PLACE_BYTES, "part of the format");

/* FNV-1a: finds a torn write; the file is not open to anybody who could forge. */
static uint64_t checksum(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

static off_t place_offset(uint32_t slot, uint64_t sequence)
{
	return (off_t)(sizeof(struct ledger_head) + ((slot - 1) * UINT64_C(2) + sequence % 2) * sizeof(struct place));
}

static bool place_is_valid(const struct place *place, uint32_t slot)
{
	const struct ledger_entry *e = &place->entry;

	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++)
		if (!is_terminated(e->volumes[i], sizeof(e->volumes[i])))
			return false;
	return place->sequence > 0 && place->checksum == checksum(place, offsetof(struct place, checksum)) &&
	       e->slot == slot && is_terminated(e->id, sizeof(e->id)) &&
	       is_terminated(e->template, sizeof(e->template)) &&
	       (e->steps_begun == 0 || (name_is_valid(e->id) && name_is_valid(e->template)));
}

/* The newer valid place of SLOT: 1, or 0 when there is none. */
static int newest(int fd, uint32_t slot, struct place *ret)
{
	int found = 0;

	for (uint64_t i = 0; i < 2; i++) {
		struct place place;
		ssize_t n = pread(fd, &place, sizeof(place), place_offset(slot, i));
		if (n != sizeof(place) || !place_is_valid(&place, slot) || place.sequence % 2 != i)
			continue;
		if (!found || place.sequence > ret->sequence)
			*ret = place;
		found = 1;
	}
	return found;
}

static int write_head(int fd, const struct ledger_head *head, uint32_t n_slots)
{
	int r = ftruncate(fd, 0) < 0 ? -errno : -posix_fallocate(fd, 0, place_offset(n_slots + 1, 0));

	return r < 0 ? r : pwrite(fd, head, sizeof(*head), 0) == sizeof(*head) ? 0 : -EIO;
}

int ledger_open(int run_fd, uint32_t n_slots, const char *boot_id, struct ledger *ret)
{
	struct ledger_head head = { .magic = LEDGER_MAGIC,
		.version = LEDGER_VERSION,
		.n_slots = n_slots,
		.entry_bytes = sizeof(struct place) };
	struct ledger_head there;
	int r = copy_string(head.boot_id, sizeof(head.boot_id), boot_id);
	if (r < 0)
		return r;

	_close_ int fd = openat(run_fd, "ledger", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	const bool of_this_boot = pread(fd, &there, sizeof(there), 0) == sizeof(there) && there.magic == head.magic &&
				  memcmp(there.boot_id, head.boot_id, sizeof(head.boot_id)) == 0;
	if (of_this_boot && (there.version > head.version || there.entry_bytes != head.entry_bytes))
		return -EPROTONOSUPPORT;
	/* A ceiling that was lowered does not hide the sessions above it. */
	if (of_this_boot && there.n_slots > n_slots)
		head.n_slots = n_slots = there.n_slots;
	if (!of_this_boot)
		r = write_head(fd, &head, n_slots);
	else if ((r = -posix_fallocate(fd, 0, place_offset(n_slots + 1, 0))) == 0 &&
		 pwrite(fd, &head, sizeof(head), 0) != sizeof(head))
		r = -EIO;
	if (r < 0)
		return r;
	uint64_t *sequences = calloc((size_t)n_slots + 1, sizeof(*sequences));
	if (!sequences)
		return -ENOMEM;
	for (uint32_t slot = 1; slot <= n_slots; slot++) {
		struct place place;
		if (newest(fd, slot, &place))
			sequences[slot] = place.sequence;
	}
	*ret = (struct ledger){ .fd = steal_fd(&fd), .n_slots = n_slots, .sequences = sequences };
	return 0;
}

void ledger_close(struct ledger *ledger)
{
	close_fdp(&ledger->fd);
	free(ledger->sequences);
	ledger->sequences = NULL;
}

int ledger_write(struct ledger *ledger, const struct ledger_entry *entry)
{
	if (entry->slot == 0 || entry->slot > ledger->n_slots)
		return -ERANGE;
	struct place place;
	memset(&place, 0, sizeof(place));
	place.sequence = ledger->sequences[entry->slot] + 1;
	place.entry = *entry;
	place.checksum = checksum(&place, offsetof(struct place, checksum));
	ssize_t n = pwrite(ledger->fd, &place, sizeof(place), place_offset(entry->slot, place.sequence));
	if (n != sizeof(place))
		return n < 0 ? -errno : -EIO;
	ledger->sequences[entry->slot] = place.sequence;
	return 0;
}

int ledger_clear(struct ledger *ledger, uint32_t slot)
{
	return ledger_write(ledger, &(struct ledger_entry){ .slot = slot });
}

int ledger_read(struct ledger *ledger, uint32_t slot, struct ledger_entry *ret)
{
	struct place place;

	if (slot == 0 || slot > ledger->n_slots || ledger->sequences[slot] == 0 ||
		!newest(ledger->fd, slot, &place) || place.entry.steps_begun == 0)
		return 0;
	*ret = place.entry;
	for (uint32_t i = ret->n_limits; i < LIMIT_COUNT; i++)
		ret->limits.value[i] = LIMIT_UNSET;
	return 1;
}
