/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal that a person sits at, while what runs in a session has it: raw, so that every key goes there, and as
 * it was again on every way out. Signals come as what signalfd(2) says, so that none ends the program in between.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <termios.h>

#include "wire/def.h"

struct console {
	int fd; /* the terminal; borrowed. -1: there is none */
	int signal_fd;
	bool raw;
	struct termios saved;
	sigset_t saved_mask;
};

/*
 * Takes signals: window changes, stopping and ending of a terminal at FD (-1: none), and all that asks a program to
 * end. 0 or a negative errno.
 */
int console_open(struct console *console, int fd);

/* Leaves the terminal and the signals as they were. */
void console_close(struct console *console);

#define _console_ _cleanup_(console_close)

/* Raw mode on and off; without a terminal nothing happens. 0 or a negative errno. */
int console_raw(struct console *console);
void console_restore(struct console *console);

/*
 * Gives the screen back after a program that did not leave it itself, because it goes on elsewhere: the normal screen,
 * a cursor, no colours, no reports of the mouse.
 */
void console_reset_screen(const struct console *console);

/* Rows and columns; false when they are not known. */
bool console_size(const struct console *console, int *ret_rows, int *ret_columns);

/* The next signal, or 0 when there is none. */
int console_signal(struct console *console);

/* Stops this program as the shell's job control wants it; returns when it goes on, raw again if it was. */
void console_suspend(struct console *console);
