// Starts the server under test (EXO_TEST_SERVER) for one file of tests, and ends it with them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before } from 'node:test';
import { createInterface } from 'node:readline';

export const model = 'org/test-model';

/** The server's URL is in `server.url` once the tests run. */
export function startServer() {
  const server = { url: '' };
  let child;
  before(async () => {
    child = spawn(process.env.EXO_TEST_SERVER, { stdio: ['pipe', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: child.stdout })) {
      server.url = line;
      break;
    }
  });
  after(() => child.stdin.end());
  return server;
}

/** Waits until `/metrics` has counted `count` cancelled requests. */
export async function cancelled(server, count) {
  for (let i = 0; i < 500; ++i) {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    if (Number(/^exo_requests_cancelled_total (\d+)/m.exec(text)[1]) >= count) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}

export const hello = 'Hello there, wörld 🙂.';
export const weatherSchema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };

/** For answers of a form: bounded, so that a model that improvises comes to an end. */
export const placeSchema = {
  type: 'object',
  properties: { city: { type: 'string', maxLength: 10 }, floors: { type: 'integer', minimum: -3, maximum: 200 }, kind: { enum: ['town', 'village'] } },
  required: ['city', 'floors', 'kind'],
  additionalProperties: false,
};
export function checkPlace(place) {
  assert.deepEqual(Object.keys(place), ['city', 'floors', 'kind']);
  assert.ok(typeof place.city === 'string' && [...place.city].length <= 10);
  assert.ok(Number.isInteger(place.floors) && place.floors >= -3 && place.floors <= 200);
  assert.ok(place.kind === 'town' || place.kind === 'village');
}
