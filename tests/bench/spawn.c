/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn N COMMAND...: starts COMMAND N times, one after the other, waits for each, and prints for each the nanoseconds
 * from before it was started to after it had ended. Inside a session that is the least that a command can take there;
 * on the host it times the peers' programs without a large interpreter's cost of starting a process.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;

	if (argc < 3)
		return 2;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	for (int i = atoi(argv[1]); i > 0; i--) {
		long long begun = now();
		if (posix_spawnp(&pid, argv[2], &actions, NULL, argv + 2, environ) != 0 ||
			waitpid(pid, &status, 0) < 0 || status != 0) {
			fprintf(stderr, "spawn: %s did not run\n", argv[2]);
			return 1;
		}
		printf("%lld\n", now() - begun);
	}
	return 0;
}
