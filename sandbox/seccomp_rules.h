/* SPDX-License-Identifier: Apache-2.0 */
/* The table behind sandbox/seccomp.h. Private to the compiler of profiles and its test. */
#pragma once

#include "wire/def.h"

enum seccomp_profile {
	MINIMAL = 1 << 0,
	BROWSER = 1 << 1,
	DIND = 1 << 2,
	ALL = MINIMAL | BROWSER | DIND,
};

/*
 * Conditions look at the low 32 bits of an argument: the kernel drops the rest of every argument that is tested here
 * (int, unsigned int, the flags of clone) or refuses a call that has it set (unshare). A filter that compared all 64
 * would be passed by by setting one of the others.
 */
enum rule_kind {
	ALLOW, /* whatever the arguments */
	ALLOW_IF, /* where the condition holds; several rows add up */
	REFUSE, /* EPERM */
	REFUSE_IF, /* EPERM where the condition holds, for a call that has ALLOW_IF rows only */
	EXCEPT_IF, /* EPERM where the condition holds, for a call that is otherwise allowed: comes before ALLOW */
	EXCEPT_ANY, /* the same where any bit of VALUE is set */
	LACK, /* ENOSYS like all that is in no row; here for the sake of the reason */
};

struct seccomp_rule {
	const char *call;
	uint16_t number;
	uint8_t profiles; /* enum seccomp_profile */
	uint8_t kind; /* enum rule_kind */
	uint8_t arg, second_arg; /* from 0; SECOND_ARG is 0 where there is no second condition */
	uint32_t value, second_value;
	const char *condition; /* as written in the table */
	const char *reason;
};

extern const struct seccomp_rule seccomp_rules[];
extern const size_t n_seccomp_rules;
