// SPDX-License-Identifier: Apache-2.0
// Written by tools/update-clients from the methods table. Do not edit.

import { CarrelError } from './base.js';

// no such thing, or it belongs to an owner outside the caller's prefix
export class NotFound extends CarrelError {}

// the id is taken
export class AlreadyExists extends CarrelError {}

// the idempotency key was used with other parameters, a lease is held, or a volume is of the other kind
export class Conflict extends CarrelError {}

// the caller's role or owner prefix does not permit it
export class Denied extends CarrelError {}

// a bound on connections, requests or bytes is reached; ask again after retry_after_ms
export class Busy extends CarrelError {}

// a configured limit is reached or would be passed; the message names it
export class Limit extends CarrelError {}

// the session's state does not allow it
export class InvalidState extends CarrelError {}

// it did not happen within the time given
export class Timeout extends CarrelError {}

// the session ended, or did not become ready in time
export class NotReady extends CarrelError {}

// a step failed and everything before it was undone; step and errno say which and why
export class Failed extends CarrelError {}

// this host or this version cannot do it
export class Unavailable extends CarrelError {}

// the host takes no new sessions
export class Draining extends CarrelError {}

// a parameter is missing, unknown or out of range; path names it
export class InvalidParams extends CarrelError {}

export const kinds = {
	not_found: NotFound, already_exists: AlreadyExists, conflict: Conflict, denied: Denied, busy: Busy, limit: Limit,
	invalid_state: InvalidState, timeout: Timeout, not_ready: NotReady, failed: Failed, unavailable: Unavailable,
	draining: Draining, invalid_params: InvalidParams,
};

// Names of the methods; each becomes client.group.method(params, options).
export const methods = [
	'hello',
	'rpc.discover',
	'system.health',
	'system.info',
	'system.check',
	'system.capacity',
	'system.metrics',
	'system.drain',
	'template.list',
	'template.get',
	'session.create',
	'session.ensure',
	'session.get',
	'session.list',
	'session.wait',
	'session.stop',
	'session.remove',
	'session.logs',
	'session.stats',
	'session.set_limits',
	'session.pause',
	'session.resume',
	'session.heartbeat',
	'session.extend',
	'volume.list',
	'volume.get',
	'volume.remove',
	'pool.get',
	'pool.set',
	'exec.run',
	'docker.build',
	'docker.cancel',
	'docker.run',
	'docker.stop',
	'docker.ps',
	'docker.images',
	'file.stat',
	'file.list',
	'file.read',
	'file.write',
	'file.mkdir',
	'file.move',
	'file.delete',
	'file.wait',
	'archive.get',
	'archive.put',
	'exec.start',
	'exec.attach',
	'exec.wait',
	'exec.signal',
	'exec.resize',
	'exec.list',
	'terminal.open',
	'terminal.attach',
	'port.connect',
	'port.publish',
	'port.unpublish',
	'events.subscribe',
];
