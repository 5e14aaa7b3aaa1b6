/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits in requests: reading them, refusing those that a template does not allow, changing those of a session that
 * runs.
 */
#pragma once

#include "control/session.h"

/*
 * Reads "limits" of CALL's parameters into RET_ASKED and lays them over CEILINGS, those of the template named TEMPLATE,
 * into RET_MERGED. 0, or a negative errno when CALL was answered with the first that is refused.
 */
int limits_of_call(struct call *call, const struct limits *ceilings, const char *template, struct limits *ret_asked,
	struct limits *ret_merged);
