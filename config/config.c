/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <fcntl.h>
#include <limits.h>

#include "config/file.h"

/* ---- loading ---- */

static int read_template(int dir_fd, const char *file, const struct source *templates, struct template *ret)
{
	const size_t n = strlen(file) - strlen(".json");
	char label[NAME_MAX + sizeof("templates.d/")];
	struct source source = *templates;
	const struct place place = { .source = &source };

	snprintf(label, sizeof(label), "templates.d/%s", file);
	source.name = label;
	_free_ char *text = NULL;
	int r = file_read(dir_fd, file, &source, &text);
	if (r < 0)
		return r;
	ret->name = strndup(file, n);
	if (!ret->name)
		return place_fail_memory(&place);
	if (!name_is_valid(ret->name))
		return place_fail(&place,
			"the file's name is no name of a template: a-z, 0-9 and inner hyphens, 1 to %d of them",
			NAME_SIZE - 1);
	return source_read(&source, &template_table, ret);
}

static int read_templates(int config_fd, const struct source *source, struct config *config)
{
	char *names[CONFIG_MAX_TEMPLATES];
	size_t n = 0;
	int r;

	_close_ int fd = file_open_directory(config_fd, "templates.d", source);
	if (fd < 0)
		return fd;
	r = file_list(fd, source, names, ARRAY_SIZE(names), &n);
	config->templates = r == 0 ? calloc(n + 1, sizeof(*config->templates)) : NULL;
	if (r == 0 && !config->templates)
		r = place_fail_memory(&(struct place){ .source = source });
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = read_template(fd, names[i], source, &config->templates[config->n_templates++]);
		free(names[i]);
	}
	return r;
}

static int load(const char *directory, struct config *config, char *error, size_t error_size)
{
	struct source source = { .name = ".", .text = "", .error = error, .error_size = error_size };
	int r;

	_close_ int fd = file_open_directory(AT_FDCWD, directory, &source);
	if (fd < 0)
		return fd;
	source.name = "carrel.json";
	_free_ char *text = NULL;
	r = file_read(fd, "carrel.json", &source, &text);
	if (r == 0)
		r = source_read(&source, &daemon_table, config);
	if (r < 0)
		return r;
	struct source templates = { .name = "templates.d", .text = "", .error = error, .error_size = error_size };
	r = read_templates(fd, &templates, config);
	/* Again, now that the number of templates is known. */
	const struct place file = { .source = &source };
	if (r == 0)
		r = daemon_check_slots(&file, config);
	if (r == 0)
		r = daemon_check_pools(&file, config);
	return r < 0 ? r : egress_check(&file, config);
}

int config_load(const char *directory, struct config *ret, char *error, size_t error_size)
{
	struct config config = { 0 };
	int r = load(directory, &config, error, error_size);

	if (r < 0) {
		config_free(&config);
		return r;
	}
	*ret = config;
	return 0;
}

void config_free(struct config *config)
{
	for (size_t i = 0; i < config->n_templates; i++) {
		members_release(&template_table, &config->templates[i]);
		free(config->templates[i].name);
	}
	free(config->templates);
	members_release(&daemon_table, config);
	memset(config, 0, sizeof(*config));
}

/* ---- asking ---- */

const struct template *config_template(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_templates; i++)
		if (streq(config->templates[i].name, name))
			return &config->templates[i];
	return NULL;
}

bool template_always_has_volume(const struct template *template)
{
	for (size_t i = 0; i < template->n_volumes; i++)
		if (template->volumes[i].use == VOLUME_ALWAYS)
			return true;
	return false;
}

uint32_t config_slots(const struct config *config)
{
	return config->max_sessions + config->spare_networks * (uint32_t)config->n_templates;
}

const char *role_name(enum role role)
{
	static const char *const names[] = {
		[ROLE_NONE] = "none", [ROLE_CLIENT] = "client", [ROLE_OPERATOR] = "operator", [ROLE_ADMIN] = "admin"
	};

	return (size_t)role < ARRAY_SIZE(names) ? names[role] : NULL;
}

void config_print_members(FILE *out)
{
	members_print(out, "carrel.json ", &daemon_table);
	members_print(out, "template ", &template_table);
	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		const struct limit_row *row = &limit_table[i];
		if (row->fractional)
			fprintf(out, "template limits.%s: number (%g to %g): %s\n", row->name,
				(double)row->min / 1000, (double)row->max / 1000, row->help);
		else
			fprintf(out, "template limits.%s: integer (%llu to %llu): %s\n", row->name,
				(unsigned long long)row->min, (unsigned long long)row->max, row->help);
	}
}
