// SPDX-License-Identifier: Apache-2.0
// Client of carrel, which lends isolated sessions. Needs nothing but Node itself.

export * from './base.js';
export { Client } from './client.js';
export * from './methods.js';
