// A page built by Vite, in Chromium, on an origin of its own.

import assert from 'node:assert/strict';
import { WAYS } from './harness/client.mjs';
import { buildPage, launchBrowser, servePage } from './harness/page.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';
import { until } from './harness/wait.mjs';

class Tab {
  constructor(page) {
    this.page = page;
  }

  static async open(context, origin, { name, team, transports }) {
    const fragment = new URLSearchParams({ name, transports, token: mint({ sub: name, teams: [team] }) });
    const page = await context.newPage();
    await page.goto(`${origin}/#${fragment}`);
    return new Tab(page);
  }

  state() {
    return this.page.locator('#state').innerText();
  }

  async reaches(pattern) {
    let last;
    await until(`the page to say ${pattern}`, async () => pattern.test((last = await this.state())), { seen: () => last });
  }

  change() {
    return this.page.locator('#change').click();
  }

  /** The titles of the changes on the page. */
  async titles(count) {
    const lines = this.page.locator('#changes li');
    await until(`${count} changes on the page`, async () => (await lines.count()) >= count);
    return (await lines.allInnerTexts()).map((text) => JSON.parse(text).title);
  }
}

scenario('two tabs of a team and one of another', async (stage) => {
  const page = await servePage(stage);
  const { url } = await stage.flowgate({ overlay: `[server]\nallowed_origins = ["${page.origin}"]` });
  page.folder = await buildPage(stage, url);
  const browser = await launchBrowser(stage);

  for (const [way, transports] of Object.entries(WAYS)) {
    const context = await browser.newContext();
    const open = (name, team) => Tab.open(context, page.origin, { name, team, transports });
    const tabs = await Promise.all([open('alice', 'design'), open('bob', 'design'), open('carol', 'ops')]);
    for (const tab of tabs) await tab.reaches(/^connected$/);
    const [alice, bob, carol] = tabs;

    await alice.change();
    assert.deepEqual(await bob.titles(1), ['by alice'], way);
    assert.deepEqual(await alice.titles(1), ['by alice'], way);
    await carol.change();
    assert.deepEqual(await carol.titles(1), ['by carol'], way);
    await bob.change();
    assert.deepEqual(await alice.titles(2), ['by alice', 'by bob'], way);
    assert.deepEqual(await bob.titles(2), ['by alice', 'by bob'], way);
    assert.deepEqual(await carol.titles(1), ['by carol'], way);
    await context.close();
  }
});

scenario('a page of an origin that is not allowed stays out, over every transport', async (stage) => {
  const [allowed, foreign] = [await servePage(stage), await servePage(stage)];
  const { url } = await stage.flowgate({ overlay: `[server]\nallowed_origins = ["${allowed.origin}"]` });
  allowed.folder = foreign.folder = await buildPage(stage, url);
  const context = await (await launchBrowser(stage)).newContext();

  for (const transports of Object.values(WAYS)) {
    // Only the origin tells the two apart.
    const who = { name: 'alice', team: 'design', transports };
    await (await Tab.open(context, allowed.origin, who)).reaches(/^connected$/);
    await (await Tab.open(context, foreign.origin, who)).reaches(/^refused: (xhr poll|websocket) error$/);
  }
});
