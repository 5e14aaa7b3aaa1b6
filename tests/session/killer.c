/* SPDX-License-Identifier: Apache-2.0 */
/*
 * killer PID: follows the processes that PID makes from now on, and what these make, in the order in which they are
 * made, and says how many system calls each of them makes. killer PID PROCESS CALL: kills that process (the first is 0)
 * on entering that call (the first is 1). PID itself is never stopped for a call of its own.
 *
 * It says "attached", and on SIGINT or after it has killed lines of "PROCESS CALLS" and then perhaps "killed", and lets go of all.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

enum { MAX_PROCESSES = 64, CALL_STOP = SIGTRAP | 0x80 };

static struct process {
	pid_t pid;
	long calls;
	int inside; /* the next stop for a call is that of its return */
} processes[MAX_PROCESSES];

static int n_processes;

static struct process *find(pid_t pid)
{
	for (int i = 0; i < n_processes; i++)
		if (processes[i].pid == pid)
			return &processes[i];
	if (n_processes == MAX_PROCESSES)
		exit(2);
	processes[n_processes].pid = pid;
	return &processes[n_processes++];
}

/* One is there when its parent says so, whether or not it lives to be seen: so their numbers are the same each time. */
static void note_new(pid_t parent)
{
	unsigned long pid;

	if (ptrace(PTRACE_GETEVENTMSG, parent, NULL, &pid) == 0)
		find((pid_t)pid);
}

/* A call's beginning: whether it is the one. */
static int enters(struct process *process, long wanted_process, long wanted_call)
{
	process->inside = !process->inside;
	if (!process->inside)
		return 0;
	process->calls++;
	return process - processes == wanted_process && process->calls == wanted_call;
}

/* Everything that has stopped goes on, or dies of it: whether it did. */
static int serve(pid_t parent, long wanted_process, long wanted_call)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
		int number = WIFSTOPPED(status) ? WSTOPSIG(status) : 0, event = status >> 16;
		if (!WIFSTOPPED(status))
			continue;
		if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE)
			note_new(pid);
		struct process *process = pid == parent ? NULL : find(pid);
		if (process && number == CALL_STOP && enters(process, wanted_process, wanted_call))
			return kill(pid, SIGKILL) == 0;
		if (event == PTRACE_EVENT_STOP && number != SIGTRAP)
			ptrace(PTRACE_LISTEN, pid, NULL, NULL);
		else
			ptrace(process ? PTRACE_SYSCALL : PTRACE_CONT, pid, NULL,
				event || number == CALL_STOP ? 0L : (long)number);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
	long wanted_process = argc > 3 ? atol(argv[2]) : -1, wanted_call = argc > 3 ? atol(argv[3]) : -1;
	pid_t parent = argc > 1 ? atoi(argv[1]) : 0;
	int killed = 0;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (parent <= 0 || ptrace(PTRACE_SEIZE, parent, NULL, options) < 0) {
		perror("seize");
		return 1;
	}
	puts("attached");
	fflush(stdout);
	do
		killed = serve(parent, wanted_process, wanted_call);
	while (!killed && sigwaitinfo(&signals, NULL) == SIGCHLD);
	for (int i = 0; i < n_processes; i++)
		printf("%d %ld\n", i, processes[i].calls);
	if (killed)
		puts("killed");
	/* Ending lets go of all. */
	return 0;
}
