// SPDX-License-Identifier: Apache-2.0
import { Duplex, Readable, Writable } from 'node:stream';

import { CallOptions } from './base.js';
import * as generated from './methods.js';

export interface ConnectOptions {
	/** carrel's API socket; else $CARREL_SOCKET, else /run/carrel/api.sock. */
	path?: string;
	/** The stream socket; by default stream.sock beside the API socket. */
	streamPath?: string;
}

export interface FollowEventsOptions {
	/** The last number seen; from now on by default. */
	since?: number;
	owner?: string;
	session?: string;
	kinds?: string[];
	/** How long to try to make a new connection when one broke; 30000 by default. */
	reconnectMs?: number;
}

/**
 * A client of carrel. Methods are grouped as in the reference: client.session.create({...}) calls session.create.
 * Any number of calls may be under way at once.
 */
export class Client implements generated.Methods {
	static connect(options?: ConnectOptions): Promise<Client>;
	readonly path: string;
	readonly streamPath: string;
	/** Ends the connection, and with it the commands that exec.run still runs on it. */
	close(): void;
	/** Any method by its name, also one that this version does not know. */
	call(method: string, params?: object, options?: CallOptions): Promise<any>;
	/** The stream that a method offers. An offer works once, and not for long. */
	openStream(offer: generated.StreamOffer): Promise<Duplex>;
	/** A file of a session into TARGET; rejects when it was not all of it. */
	download(session: string, path: string, target: Writable, params?: object): Promise<any>;
	/** All of SOURCE into a file of a session, which appears when it is complete. */
	upload(session: string, path: string, source: Readable | Iterable<any> | AsyncIterable<any>, params?: object): Promise<any>;
	/** A directory of a session into TARGET, as a tar. What comes out of a session is hostile: unpack it with care. */
	getArchive(session: string, path: string, target: Writable, params?: object): Promise<any>;
	/** Unpacks the tar SOURCE below a directory of a session. */
	putArchive(session: string, path: string, source: Readable | AsyncIterable<any>, params?: object): Promise<any>;
	/**
	 * Events as they happen, without end. When the connection breaks, as when carrel is started again, a new one goes
	 * on behind the last event seen. If events are no longer kept, the next one is {kind: "events.gone", gone}.
	 */
	followEvents(options?: FollowEventsOptions): AsyncGenerator<generated.Event, never, void>;
	/** What a session's workload wrote, and what it writes until the session has ended. */
	followLogs(session: string, since?: number): AsyncGenerator<generated.LogEntry, void, void>;
	/** All sessions that session.list selects, page by page. */
	eachSession(selection?: generated.SessionListParams): AsyncGenerator<generated.Session, void, void>;
}

export interface Client extends generated.Methods {}
