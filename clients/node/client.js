// SPDX-License-Identifier: Apache-2.0
// The client: every method of the interface, and what needs more than one call.

import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { CarrelError, ConnectionError } from './base.js';
import { Connection, connect } from './connection.js';
import { methods } from './methods.js';

const DEFAULT_SOCKET = '/run/carrel/api.sock';
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;

const humps = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const chosen = () => process.env.CARREL_SOCKET || DEFAULT_SOCKET;

export class Client {
	#connection;

	static async connect({ path: socket = chosen(), streamPath = path.join(path.dirname(socket), 'stream.sock') } = {}) {
		return new Client(await Connection.open(socket), socket, streamPath);
	}

	constructor(connection, socket, streamPath) {
		this.#connection = connection;
		this.path = socket;
		this.streamPath = streamPath;
		for (const name of methods) {
			const [verb, group] = name.split('.').reverse();
			const target = group ? (this[group] ??= {}) : this;
			target[humps(verb)] = (params, options) => this.call(name, params, options);
		}
	}

	close() {
		this.#connection.close();
	}

	call(method, params, options) {
		return this.#connection.call(method, params, options);
	}

	async openStream(offer) {
		const socket = await connect(this.streamPath);
		socket.write(JSON.stringify({ token: offer.token }) + '\n');
		return socket;
	}

	/** What file.read or archive.get sends, into a Writable. */
	async #receive(method, params, target) {
		const opened = await this.call(method, params);
		const stream = await this.openStream(opened.stream);
		await pipeline(stream, target);
		// Only this says that what came is all.
		const outcome = await this.call('file.wait', { session: params.session, transfer: opened.transfer });
		if (outcome.size_bytes !== stream.bytesRead)
			throw new ConnectionError(`${stream.bytesRead} of ${outcome.size_bytes} bytes came`);
		return outcome;
	}

	/** A Readable, or anything that pipeline() takes, into file.write or archive.put. */
	async #send(method, params, source, counted) {
		const opened = await this.call(method, params);
		const wait = { session: params.session, transfer: opened.transfer };
		const stream = await this.openStream(opened.stream);
		const before = stream.bytesWritten;
		try {
			await pipeline(source, stream);
		} catch (error) {
			// The other side may have ended it, and says why. With this number of bytes nothing is put in place.
			if (error.code === 'EPIPE' || error.code === 'ECONNRESET')
				await this.call('file.wait', counted ? { ...wait, size_bytes: 0 } : wait);
			throw error;
		} finally {
			stream.destroy();
		}
		return this.call('file.wait', counted ? { ...wait, size_bytes: stream.bytesWritten - before } : wait);
	}

	download(session, path, target, params = {}) {
		return this.#receive('file.read', { ...params, session, path, stream: true }, target);
	}

	upload(session, path, source, params = {}) {
		return this.#send('file.write', { ...params, session, path, stream: true }, source, true);
	}

	getArchive(session, path, target, params = {}) {
		return this.#receive('archive.get', { ...params, session, path }, target);
	}

	putArchive(session, path, source, params = {}) {
		return this.#send('archive.put', { ...params, session, path }, source, false);
	}

	async *followEvents({ since, reconnectMs = 30000, ...selection } = {}) {
		let lostAt = null;
		let pause = FIRST_PAUSE_MS;
		for (;;) {
			let connection;
			try {
				connection = await Connection.open(this.path);
				const answer = await connection.call('events.subscribe', { ...selection, since });
				lostAt = null;
				pause = FIRST_PAUSE_MS;
				if (answer.gone)
					yield { kind: 'events.gone', gone: answer.gone };
				since ??= answer.last;
				for (;;) {
					const { method, params } = await connection.notification();
					if (method !== 'event')
						continue;
					since = Math.max(since, params.seq ?? since);
					yield params;
				}
			} catch (error) {
				lostAt ??= Date.now();
				// A carrel that has just been started may have too much to do.
				const again = error instanceof CarrelError ? error.retryable : error instanceof ConnectionError;
				if (!again || Date.now() - lostAt >= reconnectMs)
					throw error;
			} finally {
				connection?.close();
			}
			await sleep(pause);
			pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
		}
	}

	async *followLogs(session, since) {
		const connection = await Connection.open(this.path);
		try {
			let portion = await connection.call('session.logs', { session, since, follow: true });
			for (;;) {
				yield* portion.entries;
				if (portion.ended && !portion.more)
					return;
				if (portion.ended)
					portion = await connection.call('session.logs', { session, since: portion.next });
				else
					portion = (await connection.notification()).params;
			}
		} finally {
			connection.close();
		}
	}

	async *eachSession(selection = {}) {
		let cursor;
		do {
			const page = await this.call('session.list', { ...selection, cursor });
			yield* page.sessions;
			cursor = page.next_cursor;
		} while (cursor);
	}
}
