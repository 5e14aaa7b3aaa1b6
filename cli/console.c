/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
static const int of_terminals[] = { SIGWINCH, SIGTSTP };

int console_open(struct console *console, int fd)
{
	sigset_t wanted, blocked;

	sigemptyset(&wanted);
	for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
		sigaddset(&wanted, ending[i]);
	for (size_t i = 0; fd >= 0 && i < ARRAY_SIZE(of_terminals); i++)
		sigaddset(&wanted, of_terminals[i]);
	*console = (struct console){ .fd = fd, .signal_fd = -1 };
	blocked = wanted;
	sigaddset(&blocked, SIGPIPE); /* it comes again as EPIPE, and for good when the mask is as it was */
	if (sigprocmask(SIG_BLOCK, &blocked, &console->saved_mask) < 0)
		return -errno;
	console->signal_fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	if (console->signal_fd >= 0)
		return 0;
	int num = -errno;
	sigprocmask(SIG_SETMASK, &console->saved_mask, NULL);
	return num;
}

void console_close(struct console *console)
{
	console_restore(console);
	if (console->signal_fd < 0)
		return;
	close_fdp(&console->signal_fd);
	sigprocmask(SIG_SETMASK, &console->saved_mask, NULL);
}

int console_raw(struct console *console)
{
	struct termios raw;

	if (console->fd < 0 || console->raw)
		return 0;
	if (tcgetattr(console->fd, &console->saved) < 0)
		return -errno;
	raw = console->saved;
	cfmakeraw(&raw);
	/* What was typed ahead is meant for the program: TCSADRAIN keeps it. */
	if (tcsetattr(console->fd, TCSADRAIN, &raw) < 0)
		return -errno;
	console->raw = true;
	return 0;
}

void console_restore(struct console *console)
{
	if (console->raw)
		tcsetattr(console->fd, TCSADRAIN, &console->saved);
	console->raw = false;
}

void console_reset_screen(const struct console *console)
{
	/* xterm's private modes: alternate screen, mouse (three ways and their encoding), paste, cursor keys, cursor. */
	static const char reset[] = "\033[?1049l\033[?1000l\033[?1002l\033[?1003l\033[?1006l\033[?2004l\033[?1l\033>"
				    "\033[?25h\033[0m";

	if (console->fd >= 0 && write(console->fd, reset, sizeof(reset) - 1) < 0)
		return; /* a terminal that is gone needs no screen */
}

bool console_size(const struct console *console, int *ret_rows, int *ret_columns)
{
	struct winsize size;

	if (console->fd < 0 || ioctl(console->fd, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
		return false;
	*ret_rows = size.ws_row;
	*ret_columns = size.ws_col;
	return true;
}

int console_signal(struct console *console)
{
	struct signalfd_siginfo info;

	if (RETRY_EINTR(read(console->signal_fd, &info, sizeof(info))) != (ssize_t)sizeof(info))
		return 0;
	return (int)info.ssi_signo;
}

void console_suspend(struct console *console)
{
	bool raw = console->raw;

	console_restore(console);
	raise(SIGSTOP);
	if (raw)
		console_raw(console);
}
