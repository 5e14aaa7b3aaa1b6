/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table over strings, its nodes embedded in what it finds: sessions by id and by idempotency key, accounts by
 * owner and by user. Keys are chosen by clients; what bounds the chains is the bound on sessions.
 */
#pragma once

#include "wire/def.h"

struct index_node {
	struct index_node *next;
	const char *key; /* borrowed from the node's owner; NULL while it is in no index */
	uint64_t hash;
};

struct index {
	struct index_node **buckets;
	size_t n_buckets; /* a power of two */
	size_t n;
};

/* 0 or -ENOMEM. */
int index_init(struct index *index);
/* Frees the table, not what is in it. */
void index_free(struct index *index);

/* Adds NODE; a key that is there already is the caller's to prevent. */
void index_add(struct index *index, struct index_node *node, const char *key);
/* Harmless when NODE is not in. */
void index_remove(struct index *index, struct index_node *node);
/* NULL when there is none. */
struct index_node *index_find(const struct index *index, const char *key);
