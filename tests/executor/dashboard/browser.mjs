// Chromium without a window, a page that fails its test for what nobody looks at (console errors, requests elsewhere), and what all
// tests of the dashboard do with one.
//   EXO_NODE_MODULES=DIR EXO_SCREENSHOTS=DIR
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const kChromium = process.env.EXO_CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

export async function launch(chromium) {
  return chromium.launch({ executablePath: kChromium, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-background-networking', '--disable-component-update'] });
}

/** A page at `url` in a context of its own. `problems()` asserts that nothing went wrong so far; `allow`: console errors that are expected. */
export async function open(browser, url, { allow = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, deviceScaleFactor: 1, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && !allow.some((pattern) => pattern.test(message.text()))) wrong.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => wrong.push(`exception: ${error.message}`));
  await page.route('**', (route) => {
    const to = route.request().url();
    if (new URL(to).origin === new URL(url).origin || to.startsWith('blob:') || to.startsWith('data:')) return route.continue();
    wrong.push(`request elsewhere: ${to}`);
    return route.abort();
  });
  await page.goto(url);
  return { page, context, wrong, problems: () => assert.deepEqual(wrong, []) };
}

const require = createRequire(join(process.env.EXO_NODE_MODULES, 'x.js'));
const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const shots = process.env.EXO_SCREENSHOTS;
mkdirSync(shots, { recursive: true });

export const kViews = ['cluster', 'plan', 'performance', 'chat', 'models'];
const kLooks = {
  light: { colorScheme: 'light', width: 1360, height: 900 },
  dark: { colorScheme: 'dark', width: 1360, height: 900 },
  phone: { colorScheme: 'light', width: 390, height: 844 },
};

export const ready = (page) => page.getByRole('status').filter({ hasText: 'serving' }).waitFor();
export const show = (page, view) => page.getByRole('navigation').getByRole('link', { name: view, exact: true }).click();
export const shoot = (page, name) => page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });

export async function accessible(page, where) {
  // Debuggers' evaluation is not bound by the page's policy, so axe runs beside it.
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  assert.deepEqual(violations.map((one) => `${where}: ${one.id}: ${one.nodes.map((node) => `${node.target} ${node.failureSummary}`).join(' | ')}`), []);
}

/** Every view of `views` in both themes and on a phone: a screenshot `name-view-look`, no overflow, and axe where `isLookedAt(view, look)`. */
export async function everyView(page, name, views, isLookedAt) {
  for (const view of views) {
    await show(page, view[0].toUpperCase() + view.slice(1));
    await page.getByRole('heading', { level: 1 }).first().waitFor({ state: 'attached' });
    for (const [look, { colorScheme, ...size }] of Object.entries(kLooks)) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize(size);
      await page.waitForTimeout(150); // observers of size and theme draw anew
      if (isLookedAt(view, look)) await accessible(page, `${name} ${view} ${look}`);
      await shoot(page, `${name}-${view}-${look}`);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${name} ${view} ${look}: ${overflow} px wider than the window`);
    }
  }
}
