// The dashboard in a browser, against the mock server and the state of real plans.
//   EXO_FIXTURE=dashboard_fixture EXO_FIXTURES=DIR (NAME.json of each plan) EXO_SCREENSHOTS=DIR node --test dashboard.test.mjs
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { accessible, everyView, kViews, launch, open, ready, shoot, show } from './browser.mjs';
import { checker } from './contract.mjs';
import { startMock } from './mock_server.mjs';

const require = createRequire(join(process.env.EXO_NODE_MODULES, 'x.js'));
const { chromium } = require('playwright-core');

const program = process.env.EXO_FIXTURE;
const kPlans = ['one', 'three', 'moe', 'sixteen', 'pipeline'];
const fixtures = Object.fromEntries(kPlans.map((name) => [name, JSON.parse(readFileSync(join(process.env.EXO_FIXTURES, `${name}.json`), 'utf8'))]));

let browser;
before(async () => {
  browser = await launch(chromium);
});
after(() => browser?.close());

/** A page with `fixture`, and the mock behind it; both end with the test. */
async function dashboard(t, fixture, { mock: mockOptions = {}, hash = '', ...options } = {}) {
  const mock = await startMock({ program, fixture: fixtures[fixture], ...mockOptions });
  t.after(() => mock.close());
  const opened = await open(browser, `${mock.url}/${hash}`, options);
  t.after(() => opened.context.close());
  return { mock, ...opened };
}

test('what the server sends is what its schema says', () => {
  const check = checker();
  for (const [name, fixture] of Object.entries(fixtures)) {
    check('State', fixture.state, name);
    check('Series', fixture.series, name);
    for (const event of fixture.events) check('Change', event.data, `${name} ${event.id}`);
  }
  assert.throws(() => check('State', { ...fixtures.one.state, surprise: 1 }, ''), 'the schema would take anything');
});

for (const [fixture, count] of [['one', 1], ['three', 3], ['sixteen', 16]]) {
  // What is wrong with contrast or names is so with any number of nodes: all of it is looked at with three.
  const thorough = count === 3;
  test(`${count} nodes: the views in both themes and on a phone`, async (t) => {
    const { page, problems } = await dashboard(t, fixture);
    await ready(page);
    const isLookedAt = (view, look) => (thorough ? look !== 'phone' || view === 'plan' : look === 'light');
    await everyView(page, fixture, thorough ? kViews : ['cluster', 'plan', 'performance'], isLookedAt);
    problems();
  });
}

test('a card per node, and only the panels there is data for', async (t) => {
  const three = await dashboard(t, 'three');
  await ready(three.page);
  assert.equal(await three.page.getByTestId('node-card').count(), 3);
  assert.equal(await three.page.getByTestId('topology-node').count(), 3);
  await show(three.page, 'Performance');
  await three.page.getByTestId('where-time-goes').waitFor();
  assert.equal(await three.page.getByTestId('plot').count(), 6);

  const one = await dashboard(t, 'one');
  await ready(one.page);
  assert.equal(await one.page.getByTestId('node-card').count(), 1);
  assert.equal(await one.page.getByTestId('topology').count(), 0, 'one node has no topology');
  await show(one.page, 'Performance');
  await one.page.getByTestId('plot').first().waitFor();
  assert.equal(await one.page.getByTestId('where-time-goes').count(), 0, 'one node waits for nobody');
  three.problems();
  one.problems();
});

test('a machine without sensors has none on its card', async (t) => {
  const { page, problems } = await dashboard(t, 'sixteen');
  await ready(page);
  const cards = page.getByTestId('node-card');
  assert.match(await cards.nth(0).innerText(), /°C · \d+ W/);
  assert.doesNotMatch(await cards.nth(3).innerText(), /°C|\d W/);
  problems();
});

test('the shard map shows the uneven shares of the plan', async (t) => {
  const { page, problems } = await dashboard(t, 'three', { hash: '#/plan' });
  const { shards, topology } = fixtures.three.state;
  const block = shards.blocks.findIndex((one) => one.name === 'layers.0');
  const bytes = shards.blocks[block].cells.map((cell) => (cell === null ? 0 : shards.cells[cell].weight_bytes + shards.cells[cell].kv_bytes));
  const sum = bytes.reduce((a, b) => a + b);
  const rects = page.locator('svg rect[data-block="layers.0"]');
  await rects.first().waitFor();
  assert.equal(await rects.count(), bytes.filter((one) => one > 0).length);
  for (const rect of await rects.all()) {
    const rank = Number(await rect.getAttribute('data-rank'));
    const height = Number(await rect.getAttribute('height')) + 1;
    assert.ok(Math.abs(height - (300 * bytes[rank]) / sum) < 0.01, `rank ${rank}: ${height} px for ${bytes[rank]} of ${sum} B`);
  }
  // The same for those who do not see it, and from block to block with the keyboard.
  const slider = page.getByRole('slider', { name: 'Block of the model' });
  const desk = topology.nodes.find((node) => node.rank === 0).name;
  assert.match(await slider.getAttribute('aria-valuetext'), new RegExp(`layers\\.0: .*${desk} ${Math.round((100 * bytes[0]) / sum)} %`));
  await slider.focus();
  await page.keyboard.press('End');
  await page.getByRole('heading', { name: 'Inside head' }).waitFor();
  await page.keyboard.press('ArrowLeft');
  await page.getByRole('heading', { name: `Inside ${shards.blocks.at(-2).name}` }).waitFor();
  problems();
});

test('a block, opened, tells ranges, heads and collectives', async (t) => {
  const { page, problems } = await dashboard(t, 'three', { hash: '#/plan' });
  const anatomy = page.getByTestId('block-anatomy');
  await anatomy.waitFor();
  const text = await anatomy.innerText();
  for (const words of [/self_attn\.q_proj/, /8192 × 8192 q4/, /by rows/, /by columns: partial sums/, /KV cache/, /all_reduce/, /32\.0 KiB per token/]) assert.match(text, words);
  assert.equal(await anatomy.locator('.head').count(), 8, 'KV heads of the model');
  assert.equal(await anatomy.locator('.step.collective').count(), 2);
  await anatomy.locator('.step.weight .piece').first().hover();
  assert.match(await page.getByRole('tooltip').innerText(), /desk: rows 0 to \d+ of \d+ \(\d+ %\), .*MiB/);
  problems();
});

test('KV heads that several ranks hold lie in lanes, experts count', async (t) => {
  const { page, problems } = await dashboard(t, 'sixteen', { hash: '#/plan' });
  await page.getByTestId('block-anatomy').waitFor();
  const key = page.locator('.step.weight', { has: page.getByText('self_attn.k_proj', { exact: true }) }).locator('.bar');
  assert.match(await key.getAttribute('class'), /lanes-[2-4]/);
  const moe = await dashboard(t, 'moe', { hash: '#/plan' });
  await moe.page.getByTestId('block-anatomy').waitFor();
  assert.match(await moe.page.getByTestId('block-anatomy').innerText(), /128 × 768 × 2048 q4/);
  moe.problems();
  problems();
});

test('pipeline stages hand over where the plan says', async (t) => {
  const { page, problems } = await dashboard(t, 'pipeline', { hash: '#/plan' });
  await page.getByTestId('shard-map').locator('svg').waitFor();
  assert.equal(await page.locator('.handover').count(), 8, 'seven hand-overs and the result');
  await shoot(page, 'pipeline-plan-light');
  problems();
});

test('the prediction stands beside what was considered', async (t) => {
  const { page, problems } = await dashboard(t, 'three', { hash: '#/plan' });
  const placement = page.getByTestId('placement');
  await placement.waitFor();
  const { report } = fixtures.three.state.plan;
  assert.match(await placement.locator('.chosen').innerText(), new RegExp(`${report.predicted.tokens_per_second.toFixed(2)} tok/s`));
  if (report.alternatives.length > 3) {
    await placement.getByRole('button', { name: /Show all/ }).click();
    assert.equal(await placement.locator('.candidate').count(), 1 + report.alternatives.length);
  }
  problems();
});

test('figures move with the events, and a lost line comes back where it was', async (t) => {
  const { page, mock } = await dashboard(t, 'three', { allow: [/ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION/] });
  await ready(page);
  const figures = page.getByRole('region', { name: 'Now' });
  const values = new Set();
  for (let i = 0; i < 20 && values.size < 2; ++i) {
    values.add(await figures.innerText());
    await page.waitForTimeout(200);
  }
  assert.ok(values.size > 1, 'the figures stand still');
  const before = mock.asked.filter((one) => one.includes('/events')).length;
  mock.dropStreams();
  await page.getByRole('status').filter({ hasText: 'not reached' }).waitFor();
  await ready(page);
  assert.equal(mock.asked.filter((one) => one.includes('/events')).length, before + 1);
  assert.match(mock.lastEventId, /^fixture-\d+$/);
});

test('a request is cancelled', async (t) => {
  const { page, mock, problems } = await dashboard(t, 'three', { mock: { eventMs: 60_000 } });
  await ready(page);
  const [first] = fixtures.three.state.requests;
  await page.getByRole('button', { name: `Cancel ${first.label}` }).click();
  await page.waitForFunction(() => true);
  for (let i = 0; i < 50 && mock.cancelled.length === 0; ++i) await page.waitForTimeout(20);
  assert.deepEqual(mock.cancelled, [first.id]);
  problems();
});

const message = (page) => page.getByRole('textbox', { name: 'Message', exact: true });
async function ask(page, text) {
  await message(page).fill(text);
  await message(page).press('Enter');
}
const answered = (page) => page.getByRole('button', { name: 'Regenerate' }).last().waitFor();

test('a chat streams markdown, with edit and regenerate', async (t) => {
  const { page, mock, problems } = await dashboard(t, 'one', { hash: '#/chat' });
  await ready(page);
  mock.chat = { text: 'Two **bold** words and `code`:\n\n```\nint x;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n', reasoning: 'Let me think.' };
  await ask(page, 'Hello?');
  await answered(page);
  const answer = page.getByTestId('answer');
  assert.equal(await answer.locator('strong').innerText(), 'bold');
  assert.equal((await answer.locator('pre code').innerText()).trim(), 'int x;');
  assert.equal(await answer.locator('td').count(), 2);
  assert.match(await answer.locator('footer').innerText(), /\d+ tokens · first after/);
  assert.deepEqual(mock.chats[0].messages, [{ role: 'user', content: 'Hello?' }]);
  assert.equal(mock.chats[0].model, fixtures.one.state.model.name);
  await shoot(page, 'chat-answer-light');

  await page.getByRole('button', { name: 'Regenerate' }).click();
  await answered(page);
  assert.deepEqual(mock.chats[1].messages, mock.chats[0].messages);
  assert.equal(await page.getByTestId('answer').count(), 1);

  await page.getByRole('button', { name: 'Edit' }).click();
  await page.getByRole('textbox', { name: 'Your message' }).fill('Hello again');
  await page.getByRole('button', { name: 'Ask again' }).click();
  await answered(page);
  assert.deepEqual(mock.chats[2].messages, [{ role: 'user', content: 'Hello again' }]);

  await page.reload();
  await page.getByText('Hello again').waitFor(); // the tab remembers
  await page.getByRole('button', { name: 'New chat' }).click();
  assert.equal(await page.getByTestId('answer').count(), 0);
  problems();
});

test('an answer is stopped, and the server is told by the closed line', async (t) => {
  const { page, mock, problems } = await dashboard(t, 'one', { hash: '#/chat' });
  await ready(page);
  mock.chat = { text: 'word '.repeat(2000), tokenMs: 5 };
  await ask(page, 'Talk');
  await page.getByTestId('answer').getByText('word').waitFor();
  await page.keyboard.press('Escape');
  await answered(page);
  assert.match(await page.getByTestId('answer').locator('footer').innerText(), /stopped/);
  for (let i = 0; i < 100 && mock.gone === 0; ++i) await page.waitForTimeout(20);
  assert.equal(mock.gone, 1);
  problems();
});

test('sampling goes with the request, and token probabilities are shown', async (t) => {
  const { page, mock, problems } = await dashboard(t, 'one', { hash: '#/chat' });
  await ready(page);
  await page.getByRole('button', { name: 'Sampling' }).click();
  await page.getByLabel('System prompt').fill('Be brief.');
  await page.getByRole('slider', { name: /Temperature/ }).fill('0.2');
  await page.getByLabel('Seed').fill('7');
  await page.getByRole('checkbox', { name: 'Token probabilities' }).check();
  mock.chat = { text: 'Probability of everything.' };
  await ask(page, 'Why?');
  await answered(page);
  const [body] = mock.chats;
  assert.equal(body.temperature, 0.2);
  assert.equal(body.seed, 7);
  assert.equal(body.top_logprobs, 5);
  assert.deepEqual(body.messages[0], { role: 'system', content: 'Be brief.' });
  assert.ok(!('top_k' in body), 'neutral values are not sent');
  await page.getByRole('button', { name: 'Probabilities' }).click();
  await page.getByTestId('tokens').getByRole('button').nth(2).click();
  assert.match(await page.locator('.alternatives').innerText(), /other/);
  await accessible(page, 'probabilities');
  await shoot(page, 'chat-probabilities-light');
  problems();
});

test('a refusal is shown in the server\'s words', async (t) => {
  const { page, mock } = await dashboard(t, 'one', { hash: '#/chat', allow: [/status of 400/] });
  await ready(page);
  mock.chat = { error: { status: 400, message: 'the prompt has 5000 tokens, the context 4096' } };
  await ask(page, 'Long');
  await page.getByRole('alert').getByText('the prompt has 5000 tokens, the context 4096').waitFor();
});

// What people have tried on pages that show text of others. Every line would set `hit` or ask another host.
const kHostile = [
  '<script>window.hit=1</script>',
  '<img src=x onerror="window.hit=1">',
  '<img src="http://evil.example/pixel.png">',
  '![x](http://evil.example/pixel.png)',
  '![x](x"onerror="window.hit=1)',
  '<svg onload="window.hit=1"><script>window.hit=1</script></svg>',
  '<svg><animate onbegin=window.hit=1 attributeName=x dur=1s></svg>',
  '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.hit=1&gt;"></table></mtext></math>',
  '<iframe src="javascript:parent.hit=1"></iframe>',
  '<iframe srcdoc="<script>parent.hit=1</script>"></iframe>',
  '<object data="javascript:window.hit=1"></object><embed src="javascript:window.hit=1">',
  '<a id=link href="javascript:window.hit=1">click</a>',
  '[click](javascript:window.hit=1)',
  '[click](JaVaScRiPt&colon;window.hit=1)',
  '[click](&#106;avascript:window.hit=1)',
  '[click](data:text/html,<script>window.opener.hit=1</script>)',
  '<a href="  javascript:window.hit=1">click</a>',
  '<form action="http://evil.example"><button>click</button></form>',
  '<input autofocus onfocus="window.hit=1">',
  '<details open ontoggle="window.hit=1">x</details>',
  '<video><source onerror="window.hit=1"></video><audio src=x onerror=window.hit=1>',
  '<body onload="window.hit=1">',
  '<style>@import "http://evil.example/x.css"; body{background:url(http://evil.example/b.png)}</style>',
  '<div style="background:url(http://evil.example/c.png);position:fixed;inset:0">over all</div>',
  '<link rel=stylesheet href="http://evil.example/x.css"><meta http-equiv=refresh content="0;url=http://evil.example">',
  '<base href="http://evil.example/">',
  '<noscript><p title="</noscript><img src=x onerror=window.hit=1>">',
  '<template><script>window.hit=1</script></template>',
  '```html\n<img src=x onerror="window.hit=1">\n```',
  '`<img src=x onerror=window.hit=1>`',
  '<xss id=x tabindex=1 onfocus=window.hit=1></xss>',
  '<form id=documentElement><input name=body><input name=attributes></form>',
  '<p id=app class=tooltip>named like us</p>',
];

test('what a model writes stays inert', async (t) => {
  const { page, mock, problems } = await dashboard(t, 'one', { hash: '#/chat' });
  await ready(page);
  for (const hostile of kHostile) {
    mock.chat = { text: `before ${hostile}\n\nafter`, reasoning: hostile };
    await ask(page, hostile); // one's own words come back, too
    await answered(page);
    await page.getByTestId('answer').getByText('after').last().waitFor();
    for (const link of await page.getByTestId('answer').locator('.markdown a').all()) await link.click({ timeout: 300, noWaitAfter: true }).catch(() => undefined);
    assert.equal(await page.evaluate(() => window.hit), undefined, hostile);
    const bad = await page.evaluate(() => [...document.querySelectorAll('.message *')].filter((element) =>
      ['SCRIPT', 'IMG', 'IFRAME', 'OBJECT', 'EMBED', 'STYLE', 'LINK', 'META', 'BASE', 'INPUT', 'FORM', 'SVG', 'VIDEO', 'AUDIO'].includes(element.tagName.toUpperCase()) ||
      (element.closest('.markdown') && [...element.attributes].some((attribute) => attribute.name.startsWith('on') || attribute.name === 'style' || attribute.name === 'id'))).map((element) => element.outerHTML));
    assert.deepEqual(bad, [], hostile);
    await page.getByRole('button', { name: 'New chat' }).click();
  }
  problems();
});

test('a key is asked for, and sent', async (t) => {
  const { page, mock } = await dashboard(t, 'one', { mock: { key: 'secret' }, allow: [/status of 401/] });
  await page.getByRole('dialog').waitFor();
  await page.getByLabel('API key').fill('secret');
  await page.getByRole('button', { name: 'Continue' }).click();
  await ready(page);
  assert.ok(mock.asked.includes('GET /v1/cluster/series?since=0'));
});

test('keys change views and theme', async (t) => {
  const { page, problems } = await dashboard(t, 'three', { colorScheme: 'light' });
  await ready(page);
  await page.keyboard.press('2');
  await page.getByRole('heading', { name: 'Plan', level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light');
  await page.keyboard.press('t');
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await page.keyboard.press('/');
  await message(page).waitFor();
  await page.keyboard.type('2t');
  assert.equal(await message(page).inputValue(), '2t');
  problems();
});

test('a stream of 500 tokens keeps the page quick', async (t) => {
  const { page, mock, problems } = await dashboard(t, 'one', { hash: '#/chat' });
  await ready(page);
  mock.chat = { text: 'Some **words** of an answer that is long.\n\n'.repeat(50), tokenMs: 2 };
  // The thread's own time, not the clock's: other processes of this machine do not count.
  const debug = await page.context().newCDPSession(page);
  await debug.send('Performance.setTimeDomain', { timeDomain: 'threadTicks' });
  await debug.send('Performance.enable');
  const busy = async () => (await debug.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration').value;
  const before = await busy();
  await ask(page, 'Much');
  await answered(page);
  const perToken = (await busy() - before) / (mock.chat.text.length / 4);
  assert.ok(perToken > 0 && perToken < 0.016, `${perToken * 1e3} ms of the page's thread per token`);
  problems();
});
