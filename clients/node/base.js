// SPDX-License-Identifier: Apache-2.0
// What the generated part stands on: the errors.

/** carrel refused a request, or it failed. Each kind has a class of its own; decide by class, kind and retryable. */
export class CarrelError extends Error {
	constructor(error) {
		super(error.message ?? '');
		this.name = this.constructor.name;
		this.code = error.code;
		this.data = error.data ?? {};
		this.kind = this.data.kind ?? null;
		this.retryable = this.data.retryable === true;
		this.retryAfterMs = this.data.retry_after_ms ?? null;
		this.path = this.data.path ?? null;
		this.session = this.data.session ?? null;
		this.step = this.data.step ?? null;
		this.errno = this.data.errno ?? null;
		this.logTail = this.data.log_tail ?? null;
		this.result = this.data.result;
	}
}

/** The connection could not be made, broke, or was closed; it is not known whether a request was done. */
export class ConnectionError extends Error {
	constructor(message, options) {
		super(message, options);
		this.name = 'ConnectionError';
	}
}
