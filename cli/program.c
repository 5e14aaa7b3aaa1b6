/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

/* The last lines of a program's output, oldest first when it is full at START. */
struct tail {
	char *lines[PROGRAM_TAIL_LINES];
	size_t next;
};

static void tail_add(struct tail *tail, const char *line)
{
	char **slot = &tail->lines[tail->next++ % PROGRAM_TAIL_LINES];

	free(*slot);
	*slot = strdup(line);
}

static void tail_free(struct tail *tail)
{
	for (size_t i = 0; i < PROGRAM_TAIL_LINES; i++)
		free(tail->lines[i]);
}

/* All lines in one string, the caller's; NULL when memory ran out. */
static char *tail_text(const struct tail *tail)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < PROGRAM_TAIL_LINES; i++) {
		const char *line = tail->lines[(tail->next + i) % PROGRAM_TAIL_LINES];
		if (line)
			fprintf(out, "%s\n", line);
	}
	fclose(out);
	return text;
}

/* The caller's environment with the locale set; the array is the caller's, its strings are borrowed. */
static const char **make_environment(void)
{
	size_t n = 0, used = 0;

	while (environ[n])
		n++;
	const char **env = calloc(n + 2, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "LC_ALL=", 7) != 0 && strncmp(environ[i], "LANGUAGE=", 9) != 0)
			env[used++] = environ[i];
	env[used] = "LC_ALL=C.UTF-8";
	return env;
}

/* Starts ARGV with OUT_FD as its output and errors. 0 and *RET_PID, or a negative errno. */
static int start(const char *const argv[], int out_fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t defaults;
	_free_ const char **env = make_environment();

	if (!env)
		return -ENOMEM;
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGINT);
	sigaddset(&defaults, SIGQUIT);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, out_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, out_fd, STDERR_FILENO);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	int r = -posix_spawnp(ret_pid, argv[0], &files, &attr, (char *const *)argv, (char *const *)env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return r;
}

/* Reads FD to its end. */
static void read_lines(int fd, struct tail *tail, void (*line)(void *context, char *text), void *context)
{
	char text[PROGRAM_MAX_LINE];
	FILE *in = fdopen(fd, "r");

	if (!in) {
		close_fd(fd);
		return;
	}
	while (fgets(text, sizeof(text), in)) {
		text[strcspn(text, "\r\n")] = '\0';
		if (*text)
			tail_add(tail, text);
		line(context, text);
	}
	fclose(in);
}

static int explain(const char *program, int status, const struct tail *tail, struct failure *why)
{
	_free_ char *text = tail_text(tail);
	int r;

	if (WIFSIGNALED(status))
		r = failure_set(why, EXIT_REFUSED, -EINTR, "%s was ended by signal %s", program,
			sigabbrev_np(WTERMSIG(status)));
	else
		r = failure_set(why, EXIT_REFUSED, 0, "%s failed with exit status %d", program, WEXITSTATUS(status));
	failure_add(why, "step", program);
	failure_add(why, "log_tail", text);
	return r;
}

/* Signals of the terminal while a program runs: ignored here, as in system(3). */
struct ignored {
	struct sigaction interrupt, quit;
};

static void ignore_signals(struct ignored *saved)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };

	sigaction(SIGINT, &ignore, &saved->interrupt);
	sigaction(SIGQUIT, &ignore, &saved->quit);
}

static void restore_signals(const struct ignored *saved)
{
	sigaction(SIGINT, &saved->interrupt, NULL);
	sigaction(SIGQUIT, &saved->quit, NULL);
}

int program_run(const char *const argv[], void (*line)(void *context, char *text), void *context, struct failure *why)
{
	_cleanup_(tail_free) struct tail tail = { 0 };
	struct ignored saved;
	int ends[2], status = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return failure_set(why, EXIT_REFUSED, -errno, "cannot make a pipe");
	ignore_signals(&saved);
	int r = start(argv, ends[1], &pid);
	close_fd(ends[1]);
	if (r < 0) {
		close_fd(ends[0]);
		failure_set(why, EXIT_REFUSED, r, "cannot run %s", argv[0]);
		if (r == -ENOENT)
			failure_add(why, "hint", "install the Debian package of that name");
	} else {
		read_lines(ends[0], &tail, line, context);
		RETRY_EINTR(waitpid(pid, &status, 0));
		if (status != 0)
			r = explain(argv[0], status, &tail, why);
	}
	restore_signals(&saved);
	return r;
}
