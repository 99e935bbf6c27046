// Chromium without a window, and a page that fails its test for what nobody looks at: console errors and requests elsewhere.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';

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
