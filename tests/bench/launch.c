/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch N COMMAND...: starts COMMAND N times, one after the other, reads the stamp that the workload prints, and
 * prints for each run the nanoseconds from before the fork to the stamp, and from the stamp until COMMAND has ended.
 * In C, so that the cost of starting a process from a large interpreter is not charged to the peers.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int run_once(char **argv)
{
	posix_spawn_file_actions_t actions;
	char text[64] = "";
	int fds[2], status;
	size_t n = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	long long begun = now();
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) != 0)
		return -1;
	close(fds[1]);
	for (ssize_t r; n < sizeof(text) - 1 && (r = read(fds[0], text + n, sizeof(text) - 1 - n)) > 0;)
		n += (size_t)r;
	if (waitpid(pid, &status, 0) < 0 || status != 0)
		return -1;
	long long ended = now(), stamp = atoll(text);
	close(fds[0]);
	posix_spawn_file_actions_destroy(&actions);
	if (stamp <= begun)
		return -1;
	printf("%lld %lld\n", stamp - begun, ended - stamp);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	for (int i = atoi(argv[1]); i > 0; i--)
		if (run_once(argv + 2) < 0) {
			fprintf(stderr, "launch: %s: the workload did not report\n", argv[2]);
			return 1;
		}
	return 0;
}
