/* SPDX-License-Identifier: Apache-2.0 */
#include "control/params.h"

#include <stdarg.h>
#include <stdio.h>

#include "wire/limits.h"

static int fault(struct param_fault *ret, const char *path, const char *text)
{
	snprintf(ret->path, sizeof(ret->path), "%s", path);
	snprintf(ret->text, sizeof(ret->text), "%s", text);
	return -EINVAL;
}

const char *param_enum_value(const char *values, size_t n, size_t *ret_n)
{
	for (; n > 0; n--) {
		values = strchr(values, '|');
		if (!values)
			return NULL;
		values++;
	}
	*ret_n = strcspn(values, "|");
	return values;
}

const char *param_rule(const struct param *param, char *buf, size_t size)
{
	const char *null = param->type & P_NULLABLE ? ", or null" : "";

	switch (param->type & ~P_NULLABLE) {
	case P_STRING:
		snprintf(buf, size, "a string of %.0f to %.0f bytes%s", param->min, param->max, null);
		break;
	case P_NAME:
		snprintf(buf, size, "a name of 1 to 63 of a-z, 0-9 and '-', not '-' first%s", null);
		break;
	case P_INTEGER:
		snprintf(buf, size, "an integer from %.0f to %.0f%s", param->min, param->max, null);
		break;
	case P_NUMBER:
		snprintf(buf, size, "a number from %.15g to %.15g%s", param->min, param->max, null);
		break;
	case P_BOOL:
		snprintf(buf, size, "true or false%s", null);
		break;
	case P_ENUM:
		snprintf(buf, size, "one of %s%s", param->values, null);
		break;
	case P_STRINGS:
		snprintf(buf, size, "an array of %.0f to %.0f strings of at most %zu bytes%s", param->min, param->max,
			param->item_bytes, null);
		break;
	case P_STRING_MAP:
		snprintf(buf, size, "an object of at most %.0f strings, names and values of at most %zu bytes%s",
			param->max, param->item_bytes, null);
		break;
	case P_LIMITS:
		snprintf(buf, size, "an object of limits, as {\"pids\": 64}%s", null);
		break;
	case P_VOLUMES:
		snprintf(buf, size, "an array of at most %.0f objects {path, name?, persistent?}", param->max);
		break;
	default:
		snprintf(buf, size, "an object%s", null);
	}
	return buf;
}

/* Refuses a value with the rule of its parameter. */
static int refuse(const struct param *param, struct param_fault *ret, const char *path_format, ...) _printf_(3, 4);

static int refuse(const struct param *param, struct param_fault *ret, const char *path_format, ...)
{
	va_list ap;

	va_start(ap, path_format);
	vsnprintf(ret->path, sizeof(ret->path), path_format, ap);
	va_end(ap);
	param_rule(param, ret->text, sizeof(ret->text));
	return -EINVAL;
}

static bool enum_has(const char *values, const char *word)
{
	const char *value;
	size_t length;

	for (size_t i = 0; (value = param_enum_value(values, i, &length)); i++)
		if (strlen(word) == length && memcmp(word, value, length) == 0)
			return true;
	return false;
}

static int check_strings(const struct param *param, const json_t *array, struct param_fault *ret)
{
	double n = (double)json_array_size(array);
	json_t *item;
	size_t i;

	if (!json_is_array(array) || n < param->min || n > param->max)
		return refuse(param, ret, "%s", param->name);
	json_array_foreach (array, i, item)
		if (!json_is_string(item) || json_string_length(item) > param->item_bytes)
			return refuse(param, ret, "%s[%zu]", param->name, i);
	return 0;
}

static int check_string_map(const struct param *param, const json_t *map, struct param_fault *ret)
{
	const char *key;
	json_t *value;

	if (!json_is_object(map) || (double)json_object_size(map) > param->max)
		return refuse(param, ret, "%s", param->name);
	json_object_foreach ((json_t *)map, key, value) {
		size_t n = strlen(key);
		if (n == 0 || n > param->item_bytes || !json_is_string(value) ||
			json_string_length(value) > param->item_bytes)
			return refuse(param, ret, "%s.%.96s", param->name, key);
	}
	return 0;
}

static const struct limit_row *limit_find(const char *name)
{
	for (size_t i = 0; i < LIMIT_COUNT; i++)
		if (streq(limit_table[i].name, name))
			return &limit_table[i];
	return NULL;
}

/* A fractional limit counts thousandths in the table and ones in JSON. */
static bool limit_fits(const struct limit_row *row, const json_t *value)
{
	double scale = row->fractional ? 1000 : 1;

	if (!(row->fractional ? json_is_number(value) : json_is_integer(value)))
		return false;
	double number = json_number_value(value) * scale;
	return number >= (double)row->min && number <= (double)row->max;
}

static int check_limits(const struct param *param, const json_t *limits, struct param_fault *ret)
{
	const char *key;
	json_t *value;

	if (!json_is_object(limits))
		return refuse(param, ret, "%s", param->name);
	json_object_foreach ((json_t *)limits, key, value) {
		const struct limit_row *row = limit_find(key);
		double scale = row && row->fractional ? 1000 : 1;
		snprintf(ret->path, sizeof(ret->path), "%s.%.96s", param->name, key);
		if (!row) {
			snprintf(ret->text, sizeof(ret->text), "there is no such limit");
			return -EINVAL;
		}
		if (!limit_fits(row, value)) {
			snprintf(ret->text, sizeof(ret->text), "%s from %.15g to %.15g",
				row->fractional ? "a number" : "an integer", (double)row->min / scale,
				(double)row->max / scale);
			return -EINVAL;
		}
	}
	return 0;
}

static int check_volume(const struct param *param, size_t i, const json_t *volume, struct param_fault *ret)
{
	const json_t *path = json_object_get(volume, "path");
	const char *key;
	json_t *value;

	if (!json_is_object(volume))
		return refuse(param, ret, "%s[%zu]", param->name, i);
	if (!json_is_string(path) || json_string_value(path)[0] != '/')
		return refuse(param, ret, "%s[%zu].path", param->name, i);
	json_object_foreach ((json_t *)(uintptr_t)volume, key, value) {
		bool fits = value == path;
		if (streq(key, "name"))
			fits = json_is_string(value) && name_is_valid(json_string_value(value));
		else if (streq(key, "persistent"))
			fits = json_is_boolean(value);
		if (!fits)
			return refuse(param, ret, "%s[%zu].%.64s", param->name, i, key);
	}
	return 0;
}

static int check_volumes(const struct param *param, const json_t *array, struct param_fault *ret)
{
	json_t *volume;
	size_t i;

	if (!json_is_array(array) || (double)json_array_size(array) > param->max)
		return refuse(param, ret, "%s", param->name);
	json_array_foreach (array, i, volume) {
		int r = check_volume(param, i, volume, ret);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool in_range(const struct param *param, double number)
{
	return number >= param->min && number <= param->max;
}

static int check_value(const struct param *param, const json_t *value, struct param_fault *ret)
{
	bool fits = false;

	if (json_is_null(value) && (param->type & P_NULLABLE))
		return 0;
	switch (param->type & ~P_NULLABLE) {
	case P_STRING:
		fits = json_is_string(value) && in_range(param, (double)json_string_length(value));
		break;
	case P_NAME:
		fits = json_is_string(value) && name_is_valid(json_string_value(value));
		break;
	case P_INTEGER:
		fits = json_is_integer(value) && in_range(param, (double)json_integer_value(value));
		break;
	case P_NUMBER:
		fits = json_is_number(value) && in_range(param, json_number_value(value));
		break;
	case P_BOOL:
		fits = json_is_boolean(value);
		break;
	case P_ENUM:
		fits = json_is_string(value) && enum_has(param->values, json_string_value(value));
		break;
	case P_STRINGS:
		return check_strings(param, value, ret);
	case P_STRING_MAP:
		return check_string_map(param, value, ret);
	case P_LIMITS:
		return check_limits(param, value, ret);
	case P_VOLUMES:
		return check_volumes(param, value, ret);
	case P_OBJECT:
		fits = json_is_object(value);
		break;
	}
	return fits ? 0 : refuse(param, ret, "%s", param->name);
}

static const struct param *param_find(const struct param *table, const char *name)
{
	for (; table->name; table++)
		if (streq(table->name, name))
			return table;
	return NULL;
}

/* "session or owner", for a method that wants exactly one of them. */
static int check_alternatives(const struct param *table, const json_t *params, struct param_fault *ret)
{
	char names[160] = "exactly one of";
	size_t n_alternatives = 0, n_given = 0;

	for (const struct param *param = table; param->name; param++) {
		if (!param->one_of)
			continue;
		size_t n = strlen(names);
		snprintf(names + n, sizeof(names) - n, "%s %s", n_alternatives++ ? "," : "", param->name);
		n_given += json_object_get(params, param->name) != NULL;
	}
	return n_alternatives == 0 || n_given == 1 ? 0 : fault(ret, "", names);
}

int params_check(const struct param *table, const json_t *params, struct param_fault *ret)
{
	const char *key;
	json_t *value;

	if (params && !json_is_object(params))
		return fault(ret, "", "parameters are given by name, in an object");
	json_object_foreach ((json_t *)params, key, value) {
		const struct param *param = param_find(table, key);
		if (!param)
			return fault(ret, key, "there is no such parameter");
		int r = check_value(param, value, ret);
		if (r < 0)
			return r;
	}
	for (const struct param *param = table; param->name; param++)
		if (param->required && !json_object_get(params, param->name))
			return fault(ret, param->name, "is required");
	return check_alternatives(table, params, ret);
}
