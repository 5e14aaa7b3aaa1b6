/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "egress_policies": {"shop": [{"to": ["10.1.0.0/16", "2001:db8::5"], "protocol": "tcp", "ports": [443, [8000, 8100]]}]}
 *
 * Addresses, not names: what a name stands for changes, is chosen by whoever runs the name's zone, and need not be
 * what the session was answered. A list that says who is reached cannot be made of it.
 */
#include <arpa/inet.h>

#include "config/members.h"

/* Not for any list: they are the host's own, its link's or its cloud's, and groups of receivers. */
/* clang-format off */
static const struct {
	const char *address;
	uint8_t bits;
	const char *what;
} never[] = {
	{ "0.0.0.0",     8,   "this network" },
	{ "127.0.0.0",   8,   "loopback" },
	{ "169.254.0.0", 16,  "link-local addresses, metadata services among them" },
	{ "224.0.0.0",   3,   "multicast and reserved addresses" },
	{ "::",          127, "the unspecified address and loopback" },
	{ "::ffff:0:0",  96,  "IPv4 in another form" },
	{ "64:ff9b::",   96,  "IPv4 in another form" },
	{ "fe80::",      10,  "link-local addresses" },
	{ "ff00::",      8,   "multicast" },
};
/* clang-format on */

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	for (unsigned i = 0; i < bits; i++)
		if ((a[i / 8] ^ b[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static int check_never(const struct place *place, const struct egress_rule *rule)
{
	uint8_t address[16];

	for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
		const bool is_6 = strchr(never[i].address, ':');
		const unsigned shorter = never[i].bits < rule->bits ? never[i].bits : rule->bits;
		if (is_6 != (rule->family == 6))
			continue;
		inet_pton(is_6 ? AF_INET6 : AF_INET, never[i].address, address);
		if (same_bits(address, rule->address, shorter))
			return place_fail(
				place, "may not hold %s (%s/%u)", never[i].what, never[i].address, never[i].bits);
	}
	return 0;
}

/* "ADDRESS" or "ADDRESS/BITS". */
static int read_to(const struct place *place, const json_t *value, struct egress_rule *ret)
{
	const char *text = string_read(place, value, 0, UINT64_MAX), *slash = text ? strchr(text, '/') : NULL;
	char address[INET6_ADDRSTRLEN] = "", *end = NULL;

	if (!text)
		return -EINVAL;
	const size_t n = slash ? (size_t)(slash - text) : strlen(text);
	if (n < sizeof(address))
		memcpy(address, text, n);
	ret->family = inet_pton(AF_INET, address, ret->address) == 1 ? 4 : 6;
	if (ret->family == 6 && inet_pton(AF_INET6, address, ret->address) != 1)
		return place_fail(place, "\"%s\" is no address or prefix; names are not looked up", text);
	const unsigned all = ret->family == 4 ? 32 : 128;
	const unsigned long bits = slash ? strtoul(slash + 1, &end, 10) : all;
	if (slash && (slash[1] < '0' || slash[1] > '9' || *end || bits > all))
		return place_fail(place, "\"%s\" is no prefix, ADDRESS/BITS", text);
	ret->bits = (uint8_t)bits;
	for (unsigned i = ret->bits; i < all; i++)
		if (ret->address[i / 8] >> (7 - i % 8) & 1)
			return place_fail(place, "\"%s\" has bits set behind the prefix", text);
	return check_never(place, ret);
}

/* A port, or [first, last]. */
static int read_port_range(const struct place *place, const json_t *value, struct egress_rule *rule)
{
	const bool range = json_is_array(value);
	uint64_t first, last;

	if (range && json_array_size(value) != 2)
		return place_fail(place, "must be one port, or [first, last]");
	int r = integer_read(place, range ? json_array_get(value, 0) : value, 1, UINT16_MAX, &first);
	if (r == 0)
		r = integer_read(place, range ? json_array_get(value, 1) : value, 1, UINT16_MAX, &last);
	if (r < 0)
		return r;
	if (first > last)
		return place_fail(place, "the first port is above the last");
	rule->first_port = (uint16_t)first;
	rule->last_port = (uint16_t)last;
	return 0;
}

static int add_rule(const struct place *place, struct egress_list *list, const struct egress_rule *rule)
{
	if (list->n_rules == EGRESS_MAX_RULES)
		return place_fail(place, "comes to more than %d pairs of an address and a port", EGRESS_MAX_RULES);
	list->rules[list->n_rules++] = *rule;
	return 0;
}

/* RULE, with its address and protocol, for each of PORTS; for all of them where PORTS is missing or empty. */
static int add_ports(
	const struct place *place, const json_t *ports, struct egress_list *list, struct egress_rule rule)
{
	const struct place below = { place->source, place, "ports", 0 };
	json_t *port;
	size_t i;

	rule.last_port = UINT16_MAX;
	if (json_array_size(ports) == 0)
		return add_rule(place, list, &rule);
	json_array_foreach (ports, i, port) {
		const struct place at = { place->source, &below, NULL, i };
		int r = read_port_range(&at, port, &rule);
		if (r == 0)
			r = add_rule(place, list, &rule);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_protocol(const struct place *place, const json_t *entry, uint8_t *ret)
{
	const json_t *value = json_object_get(entry, "protocol"), *ports = json_object_get(entry, "ports");
	const char *word = value ? json_string_value(value) : "tcp";

	if (word && streq(word, "any") && json_array_size(ports) > 0)
		return place_fail_at(place, "ports", "need the protocol tcp or udp");
	*ret = !word		    ? 255
	       : streq(word, "tcp") ? IPPROTO_TCP
	       : streq(word, "udp") ? IPPROTO_UDP
	       : streq(word, "any") ? 0
				    : 255;
	return *ret == 255 ? place_fail_at(place, "protocol", "must be one of tcp, udp, any") : 0;
}

static int read_entry(const struct place *place, const json_t *entry, struct egress_list *list)
{
	const json_t *to = json_object_get(entry, "to"), *ports = json_object_get(entry, "ports");
	const struct place below = { place->source, place, "to", 0 };
	struct egress_rule rule = { 0 };
	const char *name;
	json_t *item;
	size_t i;

	if (!json_is_object(entry))
		return place_fail_type(place, "an object", entry);
	json_object_foreach ((json_t *)(uintptr_t)entry, name, item)
		if (!streq(name, "to") && !streq(name, "protocol") && !streq(name, "ports"))
			return place_fail_at(place, name, "unknown member");
	if (json_array_size(to) == 0)
		return place_fail_at(place, "to", "must be an array of addresses and prefixes");
	if (ports && !json_is_array(ports))
		return place_fail_at(place, "ports", "must be an array");
	int r = read_protocol(place, entry, &rule.protocol);
	json_array_foreach (to, i, item) {
		const struct place at = { place->source, &below, NULL, i };
		memset(rule.address, 0, sizeof(rule.address));
		if (r == 0)
			r = read_to(&at, item, &rule);
		if (r == 0)
			r = add_ports(place, ports, list, rule);
	}
	return r;
}

static int read_list(const struct place *place, const json_t *value, struct egress_list *list)
{
	json_t *entry;
	size_t i;

	if (!name_is_valid(place->name) || streq(place->name, "none") || streq(place->name, "internet"))
		return place_fail(place, "must have a name of its own, of a-z, 0-9 and '-'");
	if (!json_is_array(value))
		return place_fail_type(place, "an array", value);
	list->name = strdup(place->name);
	list->rules = calloc(EGRESS_MAX_RULES, sizeof(*list->rules));
	if (!list->name || !list->rules)
		return place_fail_memory(place);
	json_array_foreach (value, i, entry) {
		const struct place at = { place->source, place, NULL, i };
		int r = read_entry(&at, entry, list);
		if (r < 0)
			return r;
	}
	return 0;
}

/* FIELD is the whole configuration. */
static int read_policies(
	const struct place *place, const struct member *member _unused_, const json_t *value, void *field)
{
	struct config *config = field;
	const char *name;
	json_t *list;

	if (!json_is_object(value))
		return place_fail_type(place, "an object", value);
	if (json_object_size(value) > EGRESS_MAX_LISTS)
		return place_fail(place, "has more than %d entries", EGRESS_MAX_LISTS);
	config->egress_lists = calloc(json_object_size(value) + 1, sizeof(*config->egress_lists));
	if (!config->egress_lists)
		return place_fail_memory(place);
	json_object_foreach ((json_t *)(uintptr_t)value, name, list) {
		const struct place at = { place->source, place, name, 0 };
		int r = read_list(&at, list, &config->egress_lists[config->n_egress_lists++]);
		if (r < 0)
			return r;
	}
	return 0;
}

static void release_policies(const struct member *member _unused_, void *field)
{
	struct config *config = field;

	for (size_t i = 0; i < config->n_egress_lists; i++) {
		free(config->egress_lists[i].name);
		free(config->egress_lists[i].rules);
	}
	free(config->egress_lists);
	config->egress_lists = NULL;
	config->n_egress_lists = 0;
}

const struct member_type type_egress_policies = { "object of lists", read_policies, release_policies };

/* ---- what templates name ---- */

static bool is_policy(const struct config *config, const char *name)
{
	bool found = streq(name, "none") || streq(name, "internet");

	for (size_t i = 0; i < config->n_egress_lists; i++)
		found |= streq(config->egress_lists[i].name, name);
	return found;
}

int egress_check(const struct place *place, const struct config *config)
{
	for (size_t i = 0; i < config->n_templates; i++) {
		const struct template *t = &config->templates[i];
		const char *unknown = is_policy(config, t->egress) ? NULL : t->egress;
		for (char **p = t->egress_allowed; p && *p && !unknown; p++)
			unknown = is_policy(config, *p) ? NULL : *p;
		if (unknown)
			return place_fail_at(
				place, "egress_policies", "has no \"%s\", which template %s names", unknown, t->name);
	}
	return 0;
}
