/* SPDX-License-Identifier: Apache-2.0 */
#include "control/stats.h"

#include <fcntl.h>
#include <stdio.h>

#include "wire/def.h"

#define USEC_PER_SEC 1e6

/* A small file of the cgroup into BUF as a string. 0 or a negative errno. */
static int read_file(int cgroup_fd, const char *name, char *buf, size_t size)
{
	_close_ int fd = openat(cgroup_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	ssize_t n = RETRY_EINTR(read(fd, buf, size - 1));
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

/* The number in a file like pids.current; null when it is not there. "max" is null, too: no limit. */
static json_t *number_file(int cgroup_fd, const char *name)
{
	char buf[32];
	unsigned long long number;

	if (read_file(cgroup_fd, name, buf, sizeof(buf)) < 0 || sscanf(buf, "%llu", &number) != 1 ||
		number > INT64_MAX)
		return json_null();
	return json_integer((json_int_t)number);
}

/* Adds the pairs of a "name number" file to an object. */
static json_t *flat_file(int cgroup_fd, const char *name)
{
	char buf[4096], *rest = NULL;

	if (read_file(cgroup_fd, name, buf, sizeof(buf)) < 0)
		return json_null();
	json_t *object = json_object();
	for (char *line = strtok_r(buf, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char key[64];
		long long number;
		if (sscanf(line, "%63s %lld", key, &number) == 2)
			json_object_set_new(object, key, json_integer(number));
	}
	return object;
}

static json_t *memory(int cgroup_fd)
{
	json_t *current = number_file(cgroup_fd, "memory.current");

	if (json_is_null(current))
		return current;
	return json_pack("{s:o, s:o, s:o, s:o}", "current_bytes", current, "peak_bytes",
		number_file(cgroup_fd, "memory.peak"), "swap_bytes", number_file(cgroup_fd, "memory.swap.current"),
		"events", flat_file(cgroup_fd, "memory.events"));
}

/* cpu.stat in the units of the API; members that the kernel does not have are left out. */
static json_t *cpu(int cgroup_fd)
{
	/* clang-format off */
	static const struct { const char *from, *to; double unit; } members[] = {
		{ "usage_usec",     "usage_seconds",     USEC_PER_SEC },
		{ "user_usec",      "user_seconds",      USEC_PER_SEC },
		{ "system_usec",    "system_seconds",    USEC_PER_SEC },
		{ "throttled_usec", "throttled_seconds", USEC_PER_SEC },
		{ "nr_periods",     "periods",           0 },
		{ "nr_throttled",   "throttled_periods", 0 },
	};
	/* clang-format on */
	json_t *stat = flat_file(cgroup_fd, "cpu.stat");

	if (json_is_null(stat))
		return stat;
	json_t *object = json_object();
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const json_t *value = json_object_get(stat, members[i].from);
		if (!value)
			continue;
		json_int_t n = json_integer_value(value);
		json_object_set_new(object, members[i].to,
			members[i].unit > 0 ? json_real((double)n / members[i].unit) : json_integer(n));
	}
	json_decref(stat);
	return object;
}

/* "8:0 rbytes=1 wbytes=2 ...": an object for each device. */
static json_t *io(int cgroup_fd)
{
	char buf[8192], *rest = NULL;

	if (read_file(cgroup_fd, "io.stat", buf, sizeof(buf)) < 0)
		return json_null();
	json_t *array = json_array();
	for (char *line = strtok_r(buf, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		unsigned major, minor;
		unsigned long long rbytes = 0, wbytes = 0, rios = 0, wios = 0;
		if (sscanf(line, "%u:%u rbytes=%llu wbytes=%llu rios=%llu wios=%llu", &major, &minor, &rbytes,
			    &wbytes, &rios, &wios) != 6)
			continue;
		json_array_append_new(
			array, json_pack("{s:o, s:I, s:I, s:I, s:I}", "device", json_sprintf("%u:%u", major, minor),
				       "read_bytes", (json_int_t)rbytes, "written_bytes", (json_int_t)wbytes, "reads",
				       (json_int_t)rios, "writes", (json_int_t)wios));
	}
	return array;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0": per cent of time, and the total in seconds. */
static json_t *pressure(int cgroup_fd, const char *name)
{
	char buf[512], *rest = NULL;

	if (read_file(cgroup_fd, name, buf, sizeof(buf)) < 0)
		return json_null();
	json_t *object = json_object();
	for (char *line = strtok_r(buf, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char kind[8];
		double avg10, avg60, avg300;
		unsigned long long total;
		if (sscanf(line, "%7s avg10=%lf avg60=%lf avg300=%lf total=%llu", kind, &avg10, &avg60, &avg300,
			    &total) != 5)
			continue;
		json_object_set_new(object, kind,
			json_pack("{s:f, s:f, s:f, s:f}", "avg10", avg10, "avg60", avg60, "avg300", avg300,
				"total_seconds", (double)total / USEC_PER_SEC));
	}
	return object;
}

static json_t *pids(int cgroup_fd)
{
	json_t *events = flat_file(cgroup_fd, "pids.events"), *refused = json_object_get(events, "max");
	json_t *object = json_pack("{s:o, s:o, s:o}", "current", number_file(cgroup_fd, "pids.current"), "peak",
		number_file(cgroup_fd, "pids.peak"), "refused", refused ? json_incref(refused) : json_null());

	json_decref(events);
	return object;
}

/* A line of /proc/net/dev, "  eth0: BYTES PACKETS errs drop ...", if it is of the interface NAME. */
static json_t *interface_line(const char *line, const char *name)
{
	unsigned long long in[8], out[4];
	size_t n = strlen(name);

	line += strspn(line, " ");
	if (strncmp(line, name, n) != 0 || line[n] != ':' ||
		sscanf(line + n + 1, "%llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", &in[0], &in[1],
			&in[2], &in[3], &in[4], &in[5], &in[6], &in[7], &out[0], &out[1], &out[2], &out[3]) != 12)
		return NULL;
	/* It is the host's end: what comes in there was sent by the session. */
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "sent_bytes", (json_int_t)in[0], "sent_packets",
		(json_int_t)in[1], "sent_dropped", (json_int_t)in[3], "received_bytes", (json_int_t)out[0],
		"received_packets", (json_int_t)out[1], "received_dropped", (json_int_t)out[3]);
}

json_t *stats_network(int net_dev_fd, uint32_t slot)
{
	char name[16], buf[8192];
	size_t have = 0;
	off_t at = 0;
	ssize_t n;

	snprintf(name, sizeof(name), "cr%u", slot);
	while (slot > 0 && have < sizeof(buf) - 1 &&
		(n = RETRY_EINTR(pread(net_dev_fd, buf + have, sizeof(buf) - 1 - have, at))) > 0) {
		char *line = buf, *end;
		at += n;
		have += (size_t)n;
		buf[have] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			json_t *found = interface_line(line, name);
			if (found)
				return found;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
	}
	return json_null();
}

json_t *stats_read(int cgroup_fd)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}}", "memory", memory(cgroup_fd), "cpu",
		cpu(cgroup_fd), "pids", pids(cgroup_fd), "io", io(cgroup_fd), "pressure", "cpu",
		pressure(cgroup_fd, "cpu.pressure"), "memory", pressure(cgroup_fd, "memory.pressure"), "io",
		pressure(cgroup_fd, "io.pressure"));
}
