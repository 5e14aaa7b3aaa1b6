/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host must have. Each item is looked at or, where that is cheap, really tried: in a child process, in
 * namespaces that end with it. A missing item keeps carreld from starting; a degraded one is told and lived with.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "config/config.h"

/*
 * Fills at most MAX items, *RET_N of them; each that is not ok names a remedy. Takes some tens of milliseconds and leaves
 * nothing behind. Needs root. 0 or a negative errno: -ENOBUFS where MAX is too small, or what kept it from trying.
 */
int check_host(const struct config *config, struct check_item *items, size_t max, size_t *ret_n);

/* A table for people, or JSON: {"items": [{"name", "state", "detail", "remedy"}]}, a remedy being null where all is well. */
void check_print(const struct check_item *items, size_t n, bool json, FILE *out);

/* ---- parts that touch nothing: check/text.c ---- */

/* RELEASE is that of uname(2), "6.1.0-28-amd64". */
bool check_release(const char *release, unsigned int major, unsigned int minor);

/*
 * The first range of TEXT (subuid(5): "name:first:count" lines) that has ids in common with [FIRST, FIRST + COUNT);
 * its line goes to RET. False where there is none; lines of another form are skipped.
 */
bool check_subids(const char *text, uint64_t first, uint64_t count, char *ret, size_t size);

/* WORD is one of WORDS, which spaces and newlines part. */
bool check_has_word(const char *words, const char *word);
