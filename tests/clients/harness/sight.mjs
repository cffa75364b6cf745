// How a page looks to those who use it: what it complains of, what a screen reader would stumble over, and a picture.

import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What counts as serious: what keeps somebody from using the page. */
const SERIOUS = ['serious', 'critical'];

/** The ways in which every page is looked at. */
export const LOOKS = {
  light: { colorScheme: 'light', viewport: { width: 1440, height: 1000 } },
  dark: { colorScheme: 'dark', viewport: { width: 1440, height: 1000 } },
  phone: { colorScheme: 'light', viewport: { width: 390, height: 844 } },
  'phone-dark': { colorScheme: 'dark', viewport: { width: 390, height: 844 } },
};

/** Opens a page and collects what goes wrong in it: errors of scripts, of the console, and of its security policy. */
export async function openPage(stage, browser, url, look = LOOKS.light) {
  const context = await browser.newContext(look);
  stage.defer(() => context.close());
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && page.complaints.push(message.text()));
  page.on('pageerror', (error) => page.complaints.push(error.message));
  await page.goto(url);
  return page;
}

/** What axe finds that is serious, each with where it is. */
export async function seriousFindings(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations
    .filter(({ impact }) => SERIOUS.includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`);
}

/** Whether anything sticks out to the right, so that a phone would scroll sideways. */
export const sticksOut = (page) => page.evaluate(() => document.documentElement.scrollWidth > globalThis.innerWidth);

/** Keeps a picture below FLOWGATE_SCREENSHOTS, if that names a folder: `FLOWGATE_SCREENSHOTS=docs/images tests/run clients`. */
export async function picture(page, name) {
  const folder = process.env.FLOWGATE_SCREENSHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`) });
}
