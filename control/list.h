/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circular doubly linked lists, embedded in what they link. A head and an entry are the same struct; one that is in
 * no list points at itself, so that taking it out twice is harmless. Find the owner with container_of().
 */
#pragma once

#include <stdbool.h>

#include "wire/def.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *list)
{
	list->prev = list->next = list;
}

static inline bool list_is_empty(const struct list *list)
{
	return list->next == list;
}

static inline void list_append(struct list *head, struct list *entry)
{
	entry->prev = head->prev;
	entry->next = head;
	head->prev->next = entry;
	head->prev = entry;
}

static inline void list_remove(struct list *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
	list_init(entry);
}

/* Takes out and returns the first entry; NULL when there is none. */
static inline struct list *list_take_first(struct list *head)
{
	struct list *entry = head->next;

	if (entry == head)
		return NULL;
	list_remove(entry);
	return entry;
}
