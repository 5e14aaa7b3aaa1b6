/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanges the names of its arguments, pair by pair, as fast as it can: what a path leads to is another thing from one
 * look to the next. Ends when it is killed.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXCHANGE 2 /* RENAME_EXCHANGE, linux/fs.h */

int main(int argc, char **argv)
{
	for (;;)
		for (int i = 1; i + 1 < argc; i += 2)
			syscall(SYS_renameat2, AT_FDCWD, argv[i], AT_FDCWD, argv[i + 1], EXCHANGE);
}
