// The dashboard in a browser, as `exoc serve` serves it: real nodes, a real model, the figures that they tell.
//   EXO_EXOC=exoc EXO_MODEL=DIR (a model that goes on with "Once upon"), and what browser.mjs and contract.mjs want
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { everyView, kViews, launch, open, ready, shoot, show } from './browser.mjs';
import { checker } from './contract.mjs';

const require = createRequire(join(process.env.EXO_NODE_MODULES, 'x.js'));
const { chromium } = require('playwright-core');

let browser;
before(async () => {
  browser = await launch(chromium);
});
after(() => browser?.close());

/** exoc serve with so many nodes; interrupted with the test, and asked whether it ended in order. */
async function serve(t, nodes, flags = []) {
  const words = ['serve', process.env.EXO_MODEL, '--nodes', String(nodes), '--http', '127.0.0.1:0', '--weight_cache_dir', 'none', '--max_context', '2048', ...flags];
  const server = spawn(process.env.EXO_EXOC, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { out: '', err: '' };
  server.stdout.on('data', (bytes) => (said.out += bytes));
  server.stderr.on('data', (bytes) => (said.err += bytes));
  const ended = new Promise((resolve) => server.on('exit', (code, signal) => resolve(code ?? signal)));
  const stop = async () => {
    server.kill('SIGINT');
    assert.equal(await ended, 0, said.err);
  };
  t.after(stop);
  const until = Date.now() + 60_000;
  while (!said.out.includes('\n') && server.exitCode === null && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.match(said.out, /^http:\/\/127\.0\.0\.1:\d+\n/, said.err);
  return { url: said.out.trim(), stop };
}

async function dashboard(t, url, hash = '', options = {}) {
  const opened = await open(browser, `${url}/${hash}`, options);
  t.after(() => opened.context.close());
  await ready(opened.page);
  return opened;
}

const stateOf = async (url) => (await fetch(`${url}/v1/cluster/state`)).json();

/** Until `good(await get())`, looked at ten times a second; returns what was good. */
async function eventually(what, get, good, patience = 20_000) {
  const until = Date.now() + patience;
  for (;;) {
    const value = await get();
    if (good(value)) return value;
    assert.ok(Date.now() < until, `${what}: ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function ask(page, text) {
  const box = page.getByRole('textbox', { name: 'Message', exact: true });
  await box.fill(text);
  await box.press('Enter');
  await page.getByRole('button', { name: 'Regenerate' }).last().waitFor();
}

/** Answers that take their time: `count` at once, as long as the context lets them be. */
function keepBusy(url, count) {
  const stop = new AbortController();
  const model = 'tiny';
  const body = JSON.stringify({ model, prompt: 'Once upon', max_tokens: 1900, ignore_eos: true });
  const answers = Array.from({ length: count }, () => fetch(`${url}/v1/completions`, { method: 'POST', body, signal: stop.signal }).then((answer) => answer.status, () => 'aborted'));
  return { stop: () => stop.abort(), statuses: () => Promise.all(answers) };
}

for (const nodes of [1, 3]) {
  test(`${nodes} real nodes: every view, with the figures of the machine`, async (t) => {
    const { url } = await serve(t, nodes);
    const check = checker();
    const { page, problems } = await dashboard(t, url, '#/chat');
    await ask(page, 'Once upon');
    assert.match(await page.getByTestId('answer').innerText(), /a time there were three small computers/);
    assert.match(await page.getByTestId('answer').locator('footer').innerText(), /\d+ tokens · first after/);

    const busy = keepBusy(url, 6);
    // A few seconds of work, so that there is something to draw.
    const state = await eventually('traffic, readings and samples of every node', () => stateOf(url), ({ nodes: all, links, sample }) =>
      all.every((node) => node.reading?.processor_share != null && node.memory?.weights > 0 && node.resident_bytes > 0) && links.length === (nodes * (nodes - 1)) / 2 &&
      links.every((link) => link.sent_bytes_per_s > 0) && sample?.generated_tokens_per_s > 0);
    check('State', state, 'state');
    check('Series', await (await fetch(`${url}/v1/cluster/series?since=0`)).json(), 'series');
    assert.deepEqual(state.nodes.map((node) => node.state), Array(nodes).fill('serving'));
    assert.ok(state.nodes.every((node) => node.reading.available_bytes < node.reading.memory_bytes));
    assert.equal(state.links.every((link) => link.transport === 'shm'), true, JSON.stringify(state.links));

    await everyView(page, `real-${nodes}`, kViews, (view, look) => look !== 'phone' || view === 'plan');
    busy.stop();
    await show(page, 'Cluster');
    assert.equal(await page.getByTestId('node-card').count(), nodes);
    assert.equal(await page.getByTestId('topology-node').count(), nodes > 1 ? nodes : 0);
    await show(page, 'Performance');
    assert.equal(await page.getByTestId('plot').count(), 6);
    assert.equal(await page.getByTestId('where-time-goes').count(), nodes > 1 ? 1 : 0);
    await show(page, 'Models');
    await page.getByTestId('models').getByText('running').waitFor();
    await show(page, 'Plan');
    await page.getByTestId('block-anatomy').waitFor();
    await page.getByTestId('placement').waitFor();
    problems();
  });
}

test('a request is cancelled in the table, and its client told', async (t) => {
  const { url } = await serve(t, 1, ['--max_sequences', '1']);
  const { page, problems } = await dashboard(t, url);
  const busy = keepBusy(url, 12);   // one at a time: most of them wait
  const button = page.getByRole('button', { name: /^Cancel / });
  await button.last().waitFor();
  await shoot(page, 'real-requests');
  await button.last().click();
  await eventually('totals', () => stateOf(url), ({ totals }) => totals.cancelled === 1);
  busy.stop();
  assert.deepEqual((await busy.statuses()).filter((status) => status === 503), [503]);
  await eventually('nothing runs', () => stateOf(url), ({ requests, totals }) => requests.length === 0 && totals.accepted === totals.cancelled + totals.finished);
  problems();
});

test('token probabilities are the model\'s', async (t) => {
  const { url } = await serve(t, 1);
  const { page, problems } = await dashboard(t, url, '#/chat');
  await page.getByRole('button', { name: 'Sampling' }).click();
  await page.getByLabel('Seed').fill('7');
  await page.getByRole('slider', { name: /Temperature/ }).fill('0');
  await page.getByRole('checkbox', { name: 'Token probabilities' }).check();
  await ask(page, 'Once upon');
  await page.getByRole('button', { name: 'Probabilities' }).click();
  assert.ok((await page.getByTestId('tokens').getByRole('button').count()) > 10);
  await page.getByTestId('tokens').getByRole('button').nth(2).click();
  assert.match(await page.locator('.alternatives').innerText(), /\d %/);
  problems();
});

test('a wrong key is asked for again, the right one shows everything', async (t) => {
  const { url } = await serve(t, 1, ['--api_key_file', process.env.EXO_KEY_FILE]);
  const { page, context } = await open(browser, `${url}/`, { allow: [/status of 401/] });
  t.after(() => context.close());
  for (const key of ['a-wrong-key', 'the-right-key']) {
    await page.getByRole('dialog').waitFor();
    await page.getByLabel('API key').fill(key);
    await page.getByRole('button', { name: 'Continue' }).click();
  }
  await ready(page);
  await page.getByTestId('node-card').waitFor();
});

test('the page survives the server, and says so', async (t) => {
  const { url, stop } = await serve(t, 1);
  const { page } = await dashboard(t, url, '', { allow: [/ERR_/] });
  await page.getByTestId('node-card').waitFor();
  await stop();
  await page.getByRole('status').filter({ hasText: 'not reached' }).waitFor();
  await page.getByTestId('node-card').waitFor(); // what was known stays
});
