/* SPDX-License-Identifier: Apache-2.0 */
#include "control/command.h"

#include <stdio.h>

#include "control/image.h"
#include "wire/spec.h"

/* Strings for spec_write(): a NULL-terminated array, its strings borrowed or, in OWNED, made here. */
struct strings {
	char **items;
	size_t n, size;
	bool owned;
};

static void strings_release(struct strings *strings)
{
	for (size_t i = 0; strings->owned && i < strings->n; i++)
		free(strings->items[i]);
	free(strings->items);
}

#define _strings_ _cleanup_(strings_release)

/* One more than a spec takes is kept, so that spec_write() refuses it. */
static int strings_add(struct strings *strings, const char *item)
{
	if (strings->n > SPEC_MAX_STRINGS)
		return -E2BIG;
	/* And the NULL behind the last. */
	if (strings->n + 1 >= strings->size) {
		size_t size = strings->size ? strings->size * 2 : 16;
		char **items = reallocarray(strings->items, size, sizeof(*items));
		if (!items)
			return -ENOMEM;
		strings->items = items;
		strings->size = size;
	}
	strings->items[strings->n++] = (char *)(uintptr_t)item;
	strings->items[strings->n] = NULL;
	return 0;
}

static int strings_add_array(struct strings *strings, const json_t *array)
{
	const json_t *item;
	size_t i;

	json_array_foreach (array, i, item) {
		int r = strings_add(strings, json_string_value(item));
		if (r < 0)
			return r;
	}
	return 0;
}

static int build_argv(
	struct strings *argv, const struct template *template, const struct image *image, const json_t *command)
{
	int r = 0;

	if (template->command && !command) {
		for (char **arg = template->command; *arg && r == 0; arg++)
			r = strings_add(argv, *arg);
		return r;
	}
	if (!template->command)
		r = strings_add_array(argv, image->entrypoint);
	return r < 0 ? r : strings_add_array(argv, command ? command : image->cmd);
}

/* A JSON object serves as the ordered map in which a later value replaces an earlier one. */
static int set_variable(json_t *map, const char *name, size_t n, const char *value)
{
	_free_ char *key = strndup(name, n);

	if (!key || json_object_set_new_nocheck(map, key, json_string_nocheck(value)) < 0)
		return -ENOMEM;
	return 0;
}

/* ENTRY is "NAME=value"; one without '=' says nothing. */
static int set_entry(json_t *map, const char *entry)
{
	const char *equals = strchr(entry, '=');

	return equals && equals > entry ? set_variable(map, entry, (size_t)(equals - entry), equals + 1) : 0;
}

static int set_object(json_t *map, const json_t *object, struct err *err)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, name, value) {
		if (!name[0] || strchr(name, '='))
			return err_set(err, -EINVAL, "env", "%s", name);
		int r = set_variable(map, name, strlen(name), json_string_value(value));
		if (r < 0)
			return err_set(err, r, "env", "%s", name);
	}
	return 0;
}

static int merge_env(json_t *map, const struct template *template, const struct image *image,
	const struct command_request *request, struct err *err)
{
	const json_t *item;
	size_t i;
	int r = request->tty ? set_entry(map, "TERM=xterm-256color") : 0;

	if (r < 0)
		return err_set(err, r, "env", "TERM");
	json_array_foreach (image->env, i, item) {
		r = set_entry(map, json_string_value(item));
		if (r < 0)
			return err_set(err, r, "env", "of the image");
	}
	for (char **entry = template->env; entry && *entry && r == 0; entry++)
		r = set_entry(map, *entry);
	if (r < 0)
		return err_set(err, r, "env", "of the template");
	r = set_object(map, request->env, err);
	return r < 0 ? r : set_object(map, request->secrets, err);
}

static int build_envp(struct strings *envp, json_t *map)
{
	const char *name;
	json_t *value;

	envp->owned = true;
	json_object_foreach (map, name, value) {
		_free_ char *entry = NULL;
		if (asprintf(&entry, "%s=%s", name, json_string_value(value)) < 0)
			return -ENOMEM;
		int r = strings_add(envp, entry);
		if (r < 0)
			return r;
		steal_ptr(&entry);
	}
	return 0;
}

/* Writes the spec from what the three parts say; see command_workload(). */
static int write_spec(const struct spec_header *header, const struct strings *argv, const struct template *template,
	const struct image *image, const struct command_request *request, struct err *err)
{
	static char *const nothing[] = { NULL };
	_strings_ struct strings envp = { 0 };

	if (argv->n == 0)
		return err_set(err, -ENOEXEC, "command", "neither request, template nor image has one");
	json_t *map = json_object();
	if (!map)
		return err_set(err, -ENOMEM, "env", "%s", "");
	int r = merge_env(map, template, image, request, err);
	if (r == 0) {
		r = build_envp(&envp, map);
		if (r == 0)
			r = spec_write(header, argv->items, envp.items ? envp.items : nothing);
		if (r < 0)
			err_set(err, r, "command", "%zu arguments, %zu variables", argv->n, envp.n);
	}
	json_decref(map);
	return r;
}

static int fill_header(
	struct spec_header *header, const struct template *template, const struct image *image, struct err *err)
{
	const char *cwd = template->workdir;

	header->uid = template->uid;
	header->gid = template->gid;
	if ((!cwd || !cwd[0]) && image->workdir && image->workdir[0] == '/')
		cwd = image->workdir;
	if (copy_string(header->cwd, sizeof(header->cwd), cwd && cwd[0] ? cwd : "/") < 0)
		return err_set(err, -ENAMETOOLONG, "workdir", "%s", cwd);
	if (image->user && copy_string(header->user, sizeof(header->user), image->user) < 0)
		return err_set(err, -ENAMETOOLONG, "user", "%s", image->user);
	return 0;
}

/* What every spec begins with: who runs it and where, as the image has it where the template is silent. */
static int begin_spec(struct spec_header *header, const struct config *config, const struct template *template,
	struct image *image, struct err *err)
{
	const int r = template->command ? 0 : image_load(config->state_dir, template->image, image, err);

	return r < 0 ? r : fill_header(header, template, image, err);
}

int command_workload(const struct config *config, const struct template *template,
	const struct command_request *request, struct err *err)
{
	_cleanup_(image_release) struct image image = { 0 };
	_strings_ struct strings argv = { 0 };
	struct spec_header header = { .flags = template->cdp_pipe ? SPEC_CDP_PIPE : 0 };

	int r = begin_spec(&header, config, template, &image, err);
	if (r < 0)
		return r;
	r = build_argv(&argv, template, &image, request->command);
	if (r < 0)
		return err_set(err, r, "command", "of more than %d arguments", SPEC_MAX_STRINGS);
	return write_spec(&header, &argv, template, &image, request, err);
}

/* A better shell than sh, where the session has one. */
static int add_shell(struct strings *argv)
{
	static const char *const words[] = { "/bin/sh", "-c", "exec \"$(command -v bash || command -v sh)\"" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(words) && r == 0; i++)
		r = strings_add(argv, words[i]);
	return r;
}

int command_exec(const struct config *config, const struct template *template, const struct command_request *request,
	struct err *err)
{
	_cleanup_(image_release) struct image image = { 0 };
	_strings_ struct strings argv = { 0 };
	struct spec_header header = { .flags = request->tty ? SPEC_TTY : 0 };

	int r = begin_spec(&header, config, template, &image, err);
	if (r < 0)
		return r;
	if (request->user && copy_string(header.user, sizeof(header.user), request->user) < 0)
		return err_set(err, -ENAMETOOLONG, "user", "%s", request->user);
	if (request->cwd && copy_string(header.cwd, sizeof(header.cwd), request->cwd) < 0)
		return err_set(err, -ENAMETOOLONG, "cwd", "%s", request->cwd);
	r = request->command || !request->tty ? strings_add_array(&argv, request->command) : add_shell(&argv);
	if (r < 0)
		return err_set(err, r, "command", "of more than %d arguments", SPEC_MAX_STRINGS);
	return write_spec(&header, &argv, template, &image, request, err);
}

int command_files(const struct config *config, const struct template *template, const char *user, struct err *err)
{
	static const struct image no_image;
	static const struct command_request no_request;
	static char *name[] = { "carrel-files", NULL };
	const struct strings argv = { .items = name, .n = 1 };
	_cleanup_(image_release) struct image image = { 0 };
	struct spec_header header = { 0 };

	int r = begin_spec(&header, config, template, &image, err);
	if (r < 0)
		return r;
	if (user && copy_string(header.user, sizeof(header.user), user) < 0)
		return err_set(err, -ENAMETOOLONG, "user", "%s", user);
	copy_string(header.cwd, sizeof(header.cwd), "/");
	return write_spec(&header, &argv, template, &no_image, &no_request, err);
}

int command_probe(const struct template *template, char *const *command, struct err *err)
{
	static const struct image no_image;
	static const struct command_request no_request;
	_strings_ struct strings argv = { 0 };
	struct spec_header header = { 0 };

	int r = fill_header(&header, template, &no_image, err);
	if (r < 0)
		return r;
	for (char *const *arg = command; *arg; arg++) {
		r = strings_add(&argv, *arg);
		if (r < 0)
			return err_set(err, r, "probe", "%s", template->name);
	}
	return write_spec(&header, &argv, template, &no_image, &no_request, err);
}
