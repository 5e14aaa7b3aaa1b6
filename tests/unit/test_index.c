/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "control/index.h"

#include <stdio.h>

#include "control/list.h"

enum { N = 2000 }; /* past several sizes of the table */

struct item {
	struct index_node node;
	char key[16];
};

static void test_index(void **state _unused_)
{
	struct item *items = calloc(N, sizeof(*items));
	struct index index;

	assert_int_equal(index_init(&index), 0);
	assert_null(index_find(&index, "k0"));
	for (int i = 0; i < N; i++) {
		snprintf(items[i].key, sizeof(items[i].key), "k%d", i);
		index_add(&index, &items[i].node, items[i].key);
	}
	assert_int_equal(index.n, N);
	assert_true(index.n_buckets >= N);
	for (int i = 0; i < N; i += 2)
		index_remove(&index, &items[i].node);
	index_remove(&index, &items[0].node); /* again: harmless */
	assert_int_equal(index.n, N / 2);
	for (int i = 0; i < N; i++)
		assert_ptr_equal(index_find(&index, items[i].key), i % 2 ? &items[i].node : NULL);
	index_free(&index);
	free(items);
}

static void test_list(void **state _unused_)
{
	struct list head, a, b, c;

	list_init(&head);
	list_init(&a);
	assert_true(list_is_empty(&head));
	assert_null(list_take_first(&head));
	list_remove(&a); /* of none: harmless */
	list_append(&head, &a);
	list_append(&head, &b);
	list_append(&head, &c);
	list_remove(&b);
	list_remove(&b);
	assert_ptr_equal(list_take_first(&head), &a);
	assert_ptr_equal(list_take_first(&head), &c);
	assert_true(list_is_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_index),
		cmocka_unit_test(test_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
