// SPDX-License-Identifier: Apache-2.0

/** carrel refused a request, or it failed. Each kind has a class of its own; decide by class, kind and retryable. */
export class CarrelError extends Error {
	readonly code: number;
	/** null for a fault of the protocol itself. */
	readonly kind: string | null;
	/** Whether asking again may succeed, and when. */
	readonly retryable: boolean;
	readonly retryAfterMs: number | null;
	/** The parameter that it is about. */
	readonly path: string | null;
	readonly session: string | null;
	/** What failed and why: a step's name, the name of the system's error. */
	readonly step: string | null;
	readonly errno: string | null;
	/** The last lines of the workload. */
	readonly logTail: string | null;
	/** What there is of a result. */
	readonly result: any;
	/** All of the above as it came. */
	readonly data: Record<string, any>;
}

/** The connection could not be made, broke, or was closed; it is not known whether a request was done. */
export class ConnectionError extends Error {}

export interface CallOptions {
	/** Gives up waiting; it is not known then whether the request was done. */
	signal?: AbortSignal;
}
