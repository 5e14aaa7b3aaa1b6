/* SPDX-License-Identifier: Apache-2.0 */
/* Any JSON object for people: a line for each member, units from the members' names. */
#pragma once

#include "cli/cli.h"

/* Prints OBJECT's members, nested ones indented; members that are null or empty are left out. */
void print_members(const struct cli *cli, const json_t *object);

/* Prints [{step, ms}] as bars, each beginning where the one before ended, and their sum. */
void print_timeline(const struct cli *cli, const json_t *timeline);

/* A number in the unit that NAME ends with (_bytes, _seconds, _ms), else as it is. Returns BUF. */
const char *format_number(char *buf, size_t size, const char *name, const json_t *value);

/* How long from now until the time TEXT (RFC 3339), in seconds, negative for the past. False when it is no time. */
bool seconds_until(const char *text, int64_t *ret_seconds);
