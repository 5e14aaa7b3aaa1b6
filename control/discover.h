/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods table as documents: OpenRPC for programs, Markdown for people.
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

/* A new OpenRPC 1.3 document (spec.open-rpc.org), roles in "x-role"; NULL when memory is short. */
json_t *discover_document(void);

/* Prints that document; -ENOMEM when memory is short. */
int discover_print_openrpc(FILE *out);

/* The reference of methods, errors and limits in docs/API.md. */
void discover_print_markdown(FILE *out);
