/* SPDX-License-Identifier: Apache-2.0 */
#include "control/index.h"

enum { FIRST_BUCKETS = 256 };

/* FNV-1a. */
static uint64_t hash_string(const char *s)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *s; s++)
		hash = (hash ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
	return hash;
}

static struct index_node **bucket(const struct index *index, uint64_t hash)
{
	return &index->buckets[(hash ^ hash >> 32) & (index->n_buckets - 1)];
}

int index_init(struct index *index)
{
	struct index_node **buckets = calloc(FIRST_BUCKETS, sizeof(*buckets));

	if (!buckets)
		return -ENOMEM;
	*index = (struct index){ .buckets = buckets, .n_buckets = FIRST_BUCKETS };
	return 0;
}

void index_free(struct index *index)
{
	free(index->buckets);
	*index = (struct index){ 0 };
}

static void insert(struct index *index, struct index_node *node)
{
	struct index_node **at = bucket(index, node->hash);

	node->next = *at;
	*at = node;
}

/* Without memory for a larger table the chains grow instead. */
static void grow(struct index *index)
{
	struct index larger = { .n_buckets = index->n_buckets * 2, .n = index->n };

	larger.buckets = calloc(larger.n_buckets, sizeof(*larger.buckets));
	if (!larger.buckets)
		return;
	for (size_t i = 0; i < index->n_buckets; i++) {
		for (struct index_node *node = index->buckets[i], *next; node; node = next) {
			next = node->next;
			insert(&larger, node);
		}
	}
	free(index->buckets);
	*index = larger;
}

void index_add(struct index *index, struct index_node *node, const char *key)
{
	if (index->n >= index->n_buckets)
		grow(index);
	node->key = key;
	node->hash = hash_string(key);
	insert(index, node);
	index->n++;
}

void index_remove(struct index *index, struct index_node *node)
{
	if (!node->key)
		return;
	struct index_node **at = bucket(index, node->hash);
	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	node->key = NULL;
	index->n--;
}

struct index_node *index_find(const struct index *index, const char *key)
{
	uint64_t hash = hash_string(key);

	for (struct index_node *node = *bucket(index, hash); node; node = node->next)
		if (node->hash == hash && streq(node->key, key))
			return node;
	return NULL;
}
