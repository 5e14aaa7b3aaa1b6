/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of public methods: the one place from which validation, rpc.discover, the reference in docs/API.md and
 * the client's help follow. A row of parameters per method; a handler per method.
 */
#pragma once

#include "control/call.h"

enum param_type {
	P_STRING, /* min..max: length in bytes */
	P_NAME, /* [a-z0-9][a-z0-9-]{0,62} */
	P_INTEGER, /* min..max */
	P_NUMBER, /* min..max, may be fractional */
	P_BOOL,
	P_ENUM, /* one of values, separated by '|' */
	P_STRINGS, /* array of strings, min..max entries of at most item_bytes each */
	P_STRING_MAP, /* object of strings, at most max entries, keys and values of at most item_bytes each */
	P_LIMITS, /* object, members from limit_table */
	P_VOLUMES, /* array of at most max objects {path, name?, persistent?} */
	P_OBJECT, /* any object; the handler looks */
	P_NULLABLE = 0x80, /* or'ed in: null is allowed too */
};

struct param {
	const char *name;
	int type;
	bool required;
	bool one_of; /* exactly one of a method's parameters that say so must be given */
	double min, max;
	size_t item_bytes;
	const char *values; /* P_ENUM */
	const char *help; /* one line */
};

enum { MAX_PARAMS = 24 };

struct method {
	const char *name;
	enum role role; /* the least that may call it */
	const char *help; /* one line */
	const char *result; /* what the result is, one line */
	void (*handler)(struct call *call);
	struct param params[MAX_PARAMS]; /* ends with a NULL name */
	bool reads; /* changes nothing: not in the audit log unless it is to hold all */
};

extern const struct method method_table[];
extern const size_t n_methods;

/* The row of a method, or NULL. */
const struct method *method_find(const char *name);
