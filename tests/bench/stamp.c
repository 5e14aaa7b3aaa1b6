/* SPDX-License-Identifier: Apache-2.0 */
/* The workload of the start benchmark: says when its first instruction ran, on CLOCK_MONOTONIC, and ends. */
#include <stdio.h>
#include <time.h>

int main(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	printf("%lld\n", (long long)ts.tv_sec * 1000000000LL + ts.tv_nsec);
	return 0;
}
