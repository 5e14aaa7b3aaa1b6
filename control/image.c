/* SPDX-License-Identifier: Apache-2.0 */
#include "control/image.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { MAX_IMAGE_FILE = 1 << 20 };

/* Opens the image's file; the descriptor or a negative errno. */
static int open_file(const char *state_dir, const char *name)
{
	_free_ char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/images/%s.json", state_dir, name) < 0)
		return -ENOMEM;
	_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > MAX_IMAGE_FILE)
		return -EINVAL;
	return steal_fd(&fd);
}

static int get_strings(const json_t *config, const char *name, const json_t **ret)
{
	const json_t *array = json_object_get(config, name), *string;
	size_t i;

	if (array && !json_is_null(array)) {
		if (!json_is_array(array))
			return -EINVAL;
		json_array_foreach (array, i, string) {
			if (!json_is_string(string))
				return -EINVAL;
		}
		*ret = array;
	}
	return 0;
}

static int get_string(const json_t *config, const char *name, const char **ret)
{
	const json_t *string = json_object_get(config, name);

	if (string && !json_is_null(string)) {
		if (!json_is_string(string))
			return -EINVAL;
		*ret = json_string_value(string);
	}
	return 0;
}

int image_load(const char *state_dir, const char *name, struct image *ret, struct err *err)
{
	struct image image = { 0 };
	json_error_t error;

	_close_ int fd = open_file(state_dir, name);
	if (fd < 0)
		return err_set(err, fd, "image", "%s", name);
	image.root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
	if (!image.root)
		return err_set(err, -EINVAL, "image", "%s:%d: %s", name, error.line, error.text);
	const json_t *config = json_object_get(image.root, "config");
	if ((config && !json_is_object(config)) || get_strings(config, "env", &image.env) < 0 ||
		get_strings(config, "entrypoint", &image.entrypoint) < 0 ||
		get_strings(config, "cmd", &image.cmd) < 0 || get_string(config, "user", &image.user) < 0 ||
		get_string(config, "workdir", &image.workdir) < 0) {
		image_release(&image);
		return err_set(err, -EINVAL, "image", "%s: config", name);
	}
	*ret = image;
	return 0;
}

void image_release(struct image *image)
{
	json_decref(image->root);
	*image = (struct image){ 0 };
}
