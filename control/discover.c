/* SPDX-License-Identifier: Apache-2.0 */
#include "control/discover.h"

#include "control/error.h"
#include "control/json.h"
#include "control/params.h"
#include "control/rpc.h"
#include "control/system.h"
#include "version.h"
#include "wire/limits.h"

/* ---- JSON Schema of parameters ---- */

#define NAME_PATTERN "^[a-z0-9][a-z0-9-]{0,62}$" /* name_is_valid() */

static json_t *enum_schema(const struct param *param)
{
	json_t *values = json_array();
	const char *value;
	size_t n;

	for (size_t i = 0; (value = param_enum_value(param->values, i, &n)); i++)
		json_append(&values, json_stringn(value, n));
	return json_pack("{s:s, s:o}", "type", "string", "enum", values);
}

static json_t *limits_schema(void)
{
	json_t *properties = json_object();

	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		const struct limit_row *row = &limit_table[i];
		json_t *schema;
		if (row->fractional)
			schema = json_pack("{s:s, s:f, s:f}", "type", "number", "minimum", (double)row->min / 1000,
				"maximum", (double)row->max / 1000);
		else
			schema = json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", (json_int_t)row->min,
				"maximum", (json_int_t)row->max);
		json_put(&schema, "description", json_string(row->help));
		json_put(&properties, row->name, schema);
	}
	return json_pack("{s:s, s:o, s:b}", "type", "object", "properties", properties, "additionalProperties", 0);
}

static json_t *volumes_schema(json_int_t max)
{
	json_t *properties = json_pack("{s:{s:s, s:s}, s:{s:s, s:s}, s:{s:s}}", "path", "type", "string", "pattern",
		"^/", "name", "type", "string", "pattern", NAME_PATTERN, "persistent", "type", "boolean");
	json_t *volume = json_pack("{s:s, s:o, s:[s], s:b}", "type", "object", "properties", properties, "required",
		"path", "additionalProperties", 0);

	return json_pack("{s:s, s:I, s:o}", "type", "array", "maxItems", max, "items", volume);
}

/* JSON Schema counts characters where carrel counts bytes: the bound is then never too strict, only too lax. */
static json_t *type_schema(const struct param *param)
{
	json_int_t min = (json_int_t)param->min, max = (json_int_t)param->max, item = (json_int_t)param->item_bytes;

	switch (param->type & ~P_NULLABLE) {
	case P_STRING:
		return json_pack("{s:s, s:I, s:I}", "type", "string", "minLength", min, "maxLength", max);
	case P_NAME:
		return json_pack("{s:s, s:s}", "type", "string", "pattern", NAME_PATTERN);
	case P_INTEGER:
		return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", min, "maximum", max);
	case P_NUMBER:
		return json_pack("{s:s, s:f, s:f}", "type", "number", "minimum", param->min, "maximum", param->max);
	case P_BOOL:
		return json_pack("{s:s}", "type", "boolean");
	case P_ENUM:
		return enum_schema(param);
	case P_STRINGS:
		return json_pack("{s:s, s:I, s:I, s:{s:s, s:I}}", "type", "array", "minItems", min, "maxItems", max,
			"items", "type", "string", "maxLength", item);
	case P_STRING_MAP:
		return json_pack("{s:s, s:I, s:{s:s, s:I}}", "type", "object", "maxProperties", max,
			"additionalProperties", "type", "string", "maxLength", item);
	case P_LIMITS:
		return limits_schema();
	case P_VOLUMES:
		return volumes_schema(max);
	default:
		return json_pack("{s:s}", "type", "object");
	}
}

static json_t *param_schema(const struct param *param)
{
	json_t *schema = type_schema(param);

	if (param->type & P_NULLABLE)
		return json_pack("{s:[o, {s:s}]}", "oneOf", schema, "type", "null");
	return schema;
}

/* ---- OpenRPC ---- */

static json_t *param_document(const struct param *param)
{
	return json_pack("{s:s, s:s, s:b, s:o}", "name", param->name, "summary", param->help, "required",
		param->required, "schema", param_schema(param));
}

static json_t *method_document(const struct method *method)
{
	json_t *params = json_array(), *alternatives = json_array();

	for (const struct param *param = method->params; param->name; param++) {
		json_append(&params, param_document(param));
		if (param->one_of)
			json_append(&alternatives, json_string(param->name));
	}
	json_t *document = json_pack("{s:s, s:s, s:s, s:s, s:o, s:{s:s, s:s, s:{}}}", "name", method->name, "summary",
		method->help, "x-role", role_name(method->role), "paramStructure", "by-name", "params", params,
		"result", "name", "result", "summary", method->result, "schema");
	if (json_array_size(alternatives) > 0)
		json_put(&document, "x-exactly-one-of", alternatives);
	else
		json_decref(alternatives);
	return document;
}

static json_t *error_documents(void)
{
	json_t *errors = json_object();

	for (size_t i = 0; i < E_KIND_COUNT; i++) {
		const struct error_row *row = &error_table[i];
		json_put(&errors, row->word,
			json_pack("{s:i, s:s, s:{s:s}}", "code", row->code, "message", row->help, "data", "kind",
				row->word));
	}
	return errors;
}

json_t *discover_document(void)
{
	json_t *methods = json_array();

	for (size_t i = 0; i < n_methods; i++)
		json_append(&methods, method_document(&method_table[i]));
	return json_pack("{s:s, s:{s:s, s:s, s:s}, s:o, s:{s:o}}", "openrpc", "1.3.2", "info", "title", "carrel",
		"version", CARREL_VERSION, "description", "Isolated sessions on a dedicated Linux host.", "methods",
		methods, "components", "errors", error_documents());
}

int discover_print_openrpc(FILE *out)
{
	json_t *document = discover_document();

	if (!document)
		return -ENOMEM;
	json_dumpf(document, out, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
	fputc('\n', out);
	json_decref(document);
	return 0;
}

/* ---- Markdown ---- */

static void print_cell(FILE *out, const char *text)
{
	for (; *text; text++)
		fprintf(out, *text == '|' ? "\\%c" : "%c", *text);
}

static void print_params(FILE *out, const struct param *param)
{
	char rule[256];

	if (!param->name)
		return;
	fputs("\n| parameter | | what it may be | |\n|---|---|---|---|\n", out);
	for (; param->name; param++) {
		fprintf(out, "| `%s` | %s | ", param->name,
			param->required ? "required"
			: param->one_of ? "one of these"
					: "");
		print_cell(out, param_rule(param, rule, sizeof(rule)));
		fputs(" | ", out);
		print_cell(out, param->help);
		fputs(" |\n", out);
	}
}

void discover_print_markdown(FILE *out)
{
	fprintf(out, "## Methods\n\nVersion %d.%d of the interface.\n", API_MAJOR, API_MINOR);
	for (size_t i = 0; i < n_methods; i++) {
		const struct method *method = &method_table[i];
		fprintf(out, "\n### %s\n%s\n\nRole: %s. Result: %s.\n", method->name, method->help,
			role_name(method->role), method->result);
		print_params(out, method->params);
	}
	fputs("\n## Errors\n\n| kind | code | |\n|---|---|---|\n", out);
	for (size_t i = 0; i < E_KIND_COUNT; i++) {
		fprintf(out, "| `%s` | %d | ", error_table[i].word, error_table[i].code);
		print_cell(out, error_table[i].help);
		fputs(" |\n", out);
	}
	fputs("\n## Limits\n\nMembers of `limits`.\n\n| limit | from | to | |\n|---|---|---|---|\n", out);
	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		const struct limit_row *row = &limit_table[i];
		double scale = row->fractional ? 1000 : 1;
		fprintf(out, "| `%s` | %.15g | %.15g | ", row->name, (double)row->min / scale,
			(double)row->max / scale);
		print_cell(out, row->help);
		fputs(" |\n", out);
	}
}
