/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building JSON without looking at every step: a value that could not be had makes the whole NULL, and only the whole
 * is looked at.
 */
#pragma once

#include <jansson.h>

#include "control/buffer.h"

/* Appends to *ARRAY or sets a member of *OBJECT; VALUE is stolen. On failure what there was is released and NULL. */
void json_append(json_t **array, json_t *value);
void json_put(json_t **object, const char *key, json_t *value);

/* A text that may hold a peer's bytes, or was cut in the middle of a character: what is not UTF-8 becomes U+FFFD. */
json_t *json_text(const char *text);

/* Appends VALUE as text in one line. 0, or -ENOMEM with part of it in BUFFER; -ENOMEM for NULL, too. */
int json_write(struct buffer *buffer, const json_t *value);
