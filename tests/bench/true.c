/* SPDX-License-Identifier: Apache-2.0 */
/* The least that a command can be: of what it takes to run it nothing is its own. */

int main(void)
{
	return 0;
}
