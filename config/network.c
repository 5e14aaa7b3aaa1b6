/* SPDX-License-Identifier: Apache-2.0 */
/* Members that hold addresses and ports. */
#include <arpa/inet.h>

#include "config/members.h"

/*
 * "address/bits" into RET_ADDRESS (4 or 16 bytes) and RET_BITS, at least MIN_BITS; the bits of the hosts must be zero,
 * for they are the slots'.
 */
static int read_prefix(const struct place *place, const json_t *value, int family, uint32_t min_bits,
	uint8_t *ret_address, uint32_t *ret_bits)
{
	const uint32_t all_bits = family == AF_INET ? 32 : 128;
	const char *text = string_read(place, value, 0, UINT64_MAX), *slash = text ? strchr(text, '/') : NULL;
	char address[INET6_ADDRSTRLEN] = "";
	char *end = NULL;
	unsigned long bits = 0;

	if (!text)
		return -EINVAL;
	if (slash && slash[1] >= '1' && slash[1] <= '9' && (size_t)(slash - text) < sizeof(address)) {
		memcpy(address, text, (size_t)(slash - text));
		bits = strtoul(slash + 1, &end, 10);
	}
	if (!end || *end || inet_pton(family, address, ret_address) != 1)
		return place_fail(
			place, "\"%s\" is no %s prefix, ADDRESS/BITS", text, family == AF_INET ? "IPv4" : "IPv6");
	/* Two addresses for each slot and slots from 1: less than two bits hold none. */
	if (bits < min_bits || bits > all_bits - 2)
		return place_fail(place, "a prefix of %lu bits is outside %u to %u", bits, min_bits, all_bits - 2);
	for (uint32_t bit = (uint32_t)bits; bit < all_bits; bit++)
		if (ret_address[bit / 8] >> (7 - bit % 8) & 1)
			return place_fail(place, "\"%s\" has bits set behind the prefix", text);
	*ret_bits = (uint32_t)bits;
	return 0;
}

/* RFC 1918 and RFC 6598: what a host may use as it likes, and what the policy of egress takes for private. */
static bool ipv4_is_private(const uint8_t a[4])
{
	return a[0] == 10 || (a[0] == 172 && (a[1] & 0xf0) == 16) || (a[0] == 192 && a[1] == 168) ||
	       (a[0] == 100 && (a[1] & 0xc0) == 64);
}

/* For the two prefixes FIELD is the whole configuration. */
static int read_ipv4_prefix(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	struct config *config = field;
	int r = read_prefix(place, value, AF_INET, 8, config->ipv4, &config->ipv4_bits);

	if (r == 0 && !ipv4_is_private(config->ipv4))
		r = place_fail(
			place, "is in no private range (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10)");
	return r;
}

static int read_ipv6_prefix(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	struct config *config = field;
	int r;

	if (json_is_null(value))
		return 0;
	r = read_prefix(place, value, AF_INET6, 32, config->ipv6, &config->ipv6_bits);
	/* RFC 4193 and RFC 4291: unique local or global unicast. */
	if (r == 0 && (config->ipv6[0] & 0xfe) != 0xfc && (config->ipv6[0] & 0xe0) != 0x20)
		r = place_fail(place, "is neither unique local (fc00::/7) nor global (2000::/3)");
	config->has_ipv6 = r == 0;
	return r;
}

static int check_array(const struct place *place, const json_t *value, size_t max)
{
	if (!json_is_array(value))
		return place_fail_type(place, "an array", value);
	if (json_array_size(value) > max)
		return place_fail(place, "has more than %zu entries", max);
	return 0;
}

/* RET_FAMILY is 4 or 6; the bytes behind an IPv4 address are left as they are. */
static int read_address(const struct place *place, const json_t *value, uint8_t *ret_family, uint8_t ret_bytes[16])
{
	const char *text = string_read(place, value, 0, UINT64_MAX);

	if (!text)
		return -EINVAL;
	if (inet_pton(AF_INET, text, ret_bytes) == 1)
		*ret_family = 4;
	else if (inet_pton(AF_INET6, text, ret_bytes) == 1)
		*ret_family = 6;
	else
		return place_fail(place, "\"%s\" is no IP address", text);
	return 0;
}

/* FIELD is the whole configuration. */
static int read_nameservers(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	struct config *config = field;
	json_t *item;
	size_t i;
	int r;

	r = check_array(place, value, CONFIG_MAX_NAMESERVERS);
	if (r < 0)
		return r;
	json_array_foreach (value, i, item) {
		const struct place at = { place->source, place, NULL, i };
		r = read_address(&at, item, &config->nameserver_family[i], config->nameservers[i]);
		if (r < 0)
			return r;
		config->n_nameservers++;
	}
	return 0;
}

/* FIELD is the whole configuration. */
static int read_addresses(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	struct config *config = field;
	json_t *item;
	size_t i;
	int r;

	r = check_array(place, value, CONFIG_MAX_ADDRESSES);
	if (r < 0)
		return r;
	json_array_foreach (value, i, item) {
		const struct place at = { place->source, place, NULL, i };
		struct config_address *address = &config->publish_addresses[config->n_publish_addresses];
		r = read_address(&at, item, &address->family, address->bytes);
		if (r < 0)
			return r;
		config->n_publish_addresses++;
	}
	return 0;
}

/* FIELD is the whole template. */
static int read_ports(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	struct template *template = field;
	json_t *item;
	size_t i;
	int r;

	r = check_array(place, value, CONFIG_MAX_LOOPBACK_PORTS);
	if (r < 0)
		return r;
	json_array_foreach (value, i, item) {
		const struct place at = { place->source, place, NULL, i };
		uint64_t port;
		r = integer_read(&at, item, 1, UINT16_MAX, &port);
		if (r < 0)
			return r;
		for (size_t j = 0; j < template->n_loopback_ports; j++)
			if (template->loopback_ports[j] == port)
				return place_fail(&at, "port %u is named twice", (unsigned)port);
		template->loopback_ports[template->n_loopback_ports++] = (uint16_t)port;
	}
	return 0;
}

const struct member_type type_ipv4_prefix = { "IPv4 prefix", read_ipv4_prefix, NULL };
const struct member_type type_ipv6_prefix = { "IPv6 prefix", read_ipv6_prefix, NULL };
const struct member_type type_nameservers = { "array of IP addresses", read_nameservers, NULL };
const struct member_type type_addresses = { "array of IP addresses", read_addresses, NULL };
const struct member_type type_ports = { "array of ports", read_ports, NULL };
