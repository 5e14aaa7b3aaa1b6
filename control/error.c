/* SPDX-License-Identifier: Apache-2.0 */
#include "control/error.h"

#include "control/json.h"
#include "control/rpc.h"
#include "control/text.h"
#include "wire/def.h"

/* clang-format off */
const struct error_row error_table[E_KIND_COUNT] = {
	[E_NOT_FOUND]      = { "not_found",      -32001, "no such thing, or it belongs to an owner outside the caller's prefix" },
	[E_ALREADY_EXISTS] = { "already_exists", -32002, "the id is taken" },
	[E_CONFLICT]       = { "conflict",       -32003, "the idempotency key was used with other parameters, a lease is held, or a volume is of the other kind" },
	[E_DENIED]         = { "denied",         -32004, "the caller's role or owner prefix does not permit it" },
	[E_BUSY]           = { "busy",           -32005, "a bound on connections, requests or bytes is reached; ask again after retry_after_ms" },
	[E_LIMIT]          = { "limit",          -32006, "a configured limit is reached or would be passed; the message names it" },
	[E_INVALID_STATE]  = { "invalid_state",  -32007, "the session's state does not allow it" },
	[E_TIMEOUT]        = { "timeout",        -32008, "it did not happen within the time given" },
	[E_NOT_READY]      = { "not_ready",      -32009, "the session ended, or did not become ready in time" },
	[E_FAILED]         = { "failed",         -32010, "a step failed and everything before it was undone; step and errno say which and why" },
	[E_UNAVAILABLE]    = { "unavailable",    -32011, "this host or this version cannot do it" },
	[E_DRAINING]       = { "draining",       -32012, "the host takes no new sessions" },
	[E_INVALID_PARAMS] = { "invalid_params", RPC_INVALID_PARAMS, "a parameter is missing, unknown or out of range; path names it" },
};
/* clang-format on */

static void put_text(json_t **data, const char *key, const char *text)
{
	if (text)
		json_put(data, key, json_text(text));
}

json_t *error_object(enum error_kind kind, bool retryable, const struct error_details *details, const char *message)
{
	const struct error_row *row = &error_table[kind];
	json_t *error = json_object(), *data = json_object();

	json_put(&data, "kind", json_string(row->word));
	json_put(&data, "retryable", json_boolean(retryable));
	if (details) {
		put_text(&data, "path", details->path);
		put_text(&data, "session", details->session);
		put_text(&data, "step", details->step);
		if (details->err_no > 0)
			json_put(&data, "errno", json_errno(details->err_no));
		put_text(&data, "log_tail", details->log_tail);
		if (details->retry_after_ms > 0)
			json_put(&data, "retry_after_ms", json_integer(details->retry_after_ms));
		if (details->result)
			json_put(&data, "result", json_incref((json_t *)(uintptr_t)details->result));
	}
	json_put(&error, "code", json_integer(row->code));
	json_put(&error, "message", json_text(message));
	json_put(&error, "data", data);
	return error;
}
