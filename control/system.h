/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers that need no session: who is asking, how the host is, what there is to choose from. Rows of the methods
 * table.
 */
#pragma once

#include "control/call.h"

/* The interface's version: MINOR grows with every addition, MAJOR with every change that breaks a client. */
enum { API_MAJOR = 1, API_MINOR = 0 };

void method_hello(struct call *call);
void method_rpc_discover(struct call *call);
void method_system_health(struct call *call);
void method_system_info(struct call *call);
void method_system_metrics(struct call *call);
void method_template_list(struct call *call);
void method_template_get(struct call *call);
