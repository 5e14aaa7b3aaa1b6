// SPDX-License-Identifier: Apache-2.0
// A connection to carrel: JSON-RPC 2.0 over a unix stream socket, one JSON value per line.

import net from 'node:net';

import { CarrelError, ConnectionError } from './base.js';
import { kinds } from './methods.js';

function makeError(error) {
	return new (kinds[error.data?.kind] ?? CarrelError)(error);
}

/** A connected unix stream socket. */
export function connect(path) {
	return new Promise((resolve, reject) => {
		const socket = net.connect({ path, allowHalfOpen: true });
		const failed = (cause) => reject(new ConnectionError(`cannot reach carrel at ${path}: ${cause.message}`, { cause }));
		socket.once('error', failed);
		socket.once('connect', () => {
			socket.off('error', failed);
			resolve(socket);
		});
	});
}

export class Connection {
	#socket;
	#parts = []; // of the line that is not complete yet
	#lastId = 0;
	#waiting = new Map();
	#notifications = [];
	#listener = null; // {resolve, reject} of who waits for the next notification
	#broken = null;

	static async open(path) {
		return new Connection(await connect(path));
	}

	constructor(socket) {
		this.#socket = socket;
		socket.on('data', (data) => this.#take(data));
		socket.on('error', (cause) => this.#break(new ConnectionError(cause.message, { cause })));
		socket.on('end', () => this.#break(new ConnectionError('carrel ended the connection')));
		socket.unref(); // a program may end while nothing is waited for
	}

	close() {
		this.#break(new ConnectionError('the connection was closed'));
	}

	call(method, params = {}, { signal } = {}) {
		return new Promise((resolve, reject) => {
			signal?.throwIfAborted();
			if (this.#broken)
				throw this.#broken;
			const id = ++this.#lastId;
			const abort = () => this.#settle(id)?.reject(signal.reason);
			const forget = () => signal?.removeEventListener('abort', abort);
			this.#waiting.set(id, { resolve, reject, forget });
			signal?.addEventListener('abort', abort);
			this.#socket.ref();
			this.#socket.write(JSON.stringify({ jsonrpc: '2.0', id, method, params }) + '\n');
		});
	}

	/** The next notification: {method, params}. One waits at a time. */
	notification() {
		return new Promise((resolve, reject) => {
			if (this.#notifications.length > 0)
				resolve(this.#notifications.shift());
			else if (this.#broken)
				reject(this.#broken);
			else
				this.#listener = { resolve, reject };
			this.#hold();
		});
	}

	/** Keeps the program alive for as long as somebody waits. */
	#hold() {
		if (this.#waiting.size > 0 || this.#listener)
			this.#socket.ref();
		else
			this.#socket.unref();
	}

	#settle(id) {
		const waiting = this.#waiting.get(id);
		this.#waiting.delete(id);
		waiting?.forget();
		this.#hold();
		return waiting;
	}

	#break(error) {
		this.#broken ??= error;
		this.#socket.destroy();
		for (const id of [...this.#waiting.keys()])
			this.#settle(id).reject(this.#broken);
		this.#listener?.reject(this.#broken);
		this.#listener = null;
	}

	#take(data) {
		for (let end; (end = data.indexOf(10)) >= 0; data = data.subarray(end + 1)) {
			const line = Buffer.concat([...this.#parts, data.subarray(0, end)]);
			this.#parts = [];
			try {
				this.#dispatch(JSON.parse(line.toString()));
			} catch (cause) {
				this.#break(new ConnectionError('the answer is no JSON-RPC', { cause }));
				return;
			}
		}
		if (data.length > 0)
			this.#parts.push(data);
	}

	#dispatch(message) {
		if (message.method !== undefined) {
			const listener = this.#listener;
			this.#listener = null;
			if (listener)
				listener.resolve(message);
			else
				this.#notifications.push(message);
			this.#hold();
		} else if (message.error && message.id == null) {
			// What was sent could not even be read: no request can be told from another.
			this.#break(makeError(message.error));
		} else if (message.error) {
			this.#settle(message.id)?.reject(makeError(message.error));
		} else {
			this.#settle(message.id)?.resolve(message.result);
		}
	}
}
