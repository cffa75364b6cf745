// The admin page, in Chromium: every view, and every action.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { GENEROUS_LIMITS, ONE_ISSUER } from './harness/config.mjs';
import { launchBrowser, servePage } from './harness/page.mjs';
import { startRedis } from './harness/redis.mjs';
import { scenario } from './harness/scenario.mjs';
import { LOOKS, openPage, picture, seriousFindings, sticksOut } from './harness/sight.mjs';
import { mint } from './harness/tokens.mjs';
import { until } from './harness/wait.mjs';

const TOKEN = 'an-admin-token-of-the-page-tests';
const VIEWS = ['Overview', 'Connections', 'Teams', 'Decisions', 'Policy', 'Observed', 'Revocations'];

/** The admin page of a server of its own, signed in. */
class Admin {
  static async open(stage, { look, signIn = true, ...settings } = {}) {
    const admin = new Admin();
    admin.server = await stage.flowgate({ env: { FLOWGATE_ADMIN_TOKEN: TOKEN }, ...settings });
    admin.browser = await launchBrowser(stage);
    admin.page = await openPage(stage, admin.browser, `${admin.server.internalUrl}/admin`, look);
    if (signIn) await admin.signIn();
    return admin;
  }

  async signIn(token = TOKEN) {
    await this.page.getByLabel('Admin token').fill(token);
    await this.page.getByRole('button', { name: 'Sign in' }).click();
    if (token === TOKEN) await this.says(this.page.locator('#liveness'), /^live$/);
  }

  async view(name) {
    await this.page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name, exact: true }).click();
    await this.page.getByRole('heading', { level: 1 }).first().waitFor({ state: 'attached' });
  }

  async says(locator, pattern) {
    let last;
    await until(`the page to say ${pattern}`, async () => pattern.test((last = (await locator.allInnerTexts()).join('\n'))), { seen: () => last });
  }

  row(pattern) {
    return this.page.locator('tbody tr').filter({ hasText: pattern });
  }

  rows(count) {
    let last;
    return until(`${count} rows`, async () => (last = await this.page.locator('tbody tr:visible').count()) === count, { seen: () => last });
  }

  /** Presses a button in the dialog that asks. */
  answer(button) {
    return this.page.getByRole('dialog').getByRole('button', { name: button, exact: true }).click();
  }

  told(pattern) {
    return this.says(this.page.locator('#said'), pattern);
  }

  fine() {
    assert.deepEqual(this.page.complaints, []);
  }
}

/** Three of two teams. */
async function clients(stage, { url }) {
  return Promise.all([
    stage.member(url, 'ann', 'design'),
    stage.member(url, 'ben', 'design'),
    stage.member(url, 'cleo', 'ops', { transports: ['polling'] }),
  ]);
}

scenario('it asks for the token, and keeps it nowhere', async (stage) => {
  const admin = await Admin.open(stage, { signIn: false });
  const { page, server } = admin;
  const sent = [];
  page.on('request', (request) => sent.push(request));
  await admin.signIn('not-the-token-of-this-server');
  await admin.says(page.getByRole('alert'), /not the admin token/);
  page.complaints.splice(0);
  await admin.signIn();
  for (const view of VIEWS) await admin.view(view);

  const held = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.documentElement.outerHTML]));
  assert.ok(!held.includes(TOKEN));
  assert.equal(await page.getByLabel('Admin token').inputValue(), '');
  const carrying = sent.filter((request) => `${request.url()} ${request.postData()}`.includes(TOKEN));
  assert.deepEqual(carrying.map((request) => `${request.method()} ${new URL(request.url()).pathname}${new URL(request.url()).search}`), ['POST /api/session']);
  const [cookie, ...others] = await page.context().cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, others], [true, 'Strict', []]);
  assert.ok(!cookie.value.includes(TOKEN));

  // It stays signed in over a reload of the page, and not after signing out, in no other page either.
  await page.reload();
  await admin.says(page.locator('#liveness'), /^live$/);
  const second = await page.context().newPage();
  await second.goto(`${server.internalUrl}/admin`);
  await admin.says(second.locator('#liveness'), /^live$/);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Admin token').waitFor();
  assert.equal(await page.evaluate(() => fetch('/api/status').then(({ status }) => status)), 401);
  await second.getByLabel('Admin token').waitFor();
  assert.ok(!server.stderr.includes(TOKEN) && !server.stdout.includes(TOKEN));
});

scenario('its files come under a strict policy, and another page can do nothing with the session', async (stage) => {
  const admin = await Admin.open(stage);
  const [ann] = await clients(stage, admin.server);
  for (const file of ['/admin', '/admin/admin.js', '/admin/design.css']) {
    const { headers, status } = await fetch(admin.server.internalUrl + file);
    assert.equal(status, 200, file);
    assert.equal(headers.get('content-security-policy'), "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'");
    assert.equal(headers.get('cache-control'), 'no-store');
  }
  const front = await fetch(admin.server.internalUrl, { redirect: 'manual' });
  assert.deepEqual([front.status, front.headers.get('location')], [303, '/admin']);
  assert.equal((await fetch(`${admin.server.internalUrl}/admin/playground.js`)).status, 404);
  assert.equal((await fetch(`${admin.server.url}/admin`)).status, 404);

  // Its own cookie is not enough: what changes something needs the second secret too.
  const post = (headers) => admin.page.evaluate((more) =>
    fetch('/api/disconnect', { method: 'POST', headers: { 'content-type': 'application/json', ...more }, body: '{"team":"design"}' }).then((answer) => answer.json()), headers);
  assert.equal((await post({})).code, 'csrf');
  assert.equal((await post({ 'x-flowgate-csrf': 'guessed' })).code, 'csrf');
  // Another origin of this machine in the same browser, where the cookie is of the same site.
  const stranger = await servePage(stage);
  stranger.folder = path.join(import.meta.dirname, 'browser');
  const other = await admin.page.context().newPage();
  await other.goto(`${stranger.origin}/index.html`);
  const outcome = await other.evaluate((url) =>
    fetch(`${url}/api/disconnect`, { method: 'POST', credentials: 'include', mode: 'no-cors', body: '{"team":"design"}' }).then(() => 'sent'), admin.server.internalUrl);
  assert.equal(outcome, 'sent');
  assert.equal(await other.evaluate((url) => fetch(`${url}/api/status`, { credentials: 'include' }).then(() => 'read', () => 'not read'), admin.server.internalUrl), 'not read');
  assert.equal(ann.all('disconnect').length, 0);
});

scenario('connections: who is there, filters, and disconnecting one behind a confirmation', async (stage) => {
  const admin = await Admin.open(stage);
  const [ann, ben] = await clients(stage, admin.server);
  await admin.view('Connections');
  await admin.rows(3);
  await admin.says(admin.row('ann'), /design[^]*127\.0\.0\.1[^]*websocket/);
  await admin.says(admin.row('cleo'), /ops[^]*polling/);
  await admin.page.getByLabel('Team begins with').fill('des');
  await admin.rows(2);
  await admin.says(admin.page.locator('.count'), /2 of 3 connections/);
  await admin.page.getByLabel('User begins with').fill('b');
  await admin.rows(1);
  await admin.page.getByLabel('User begins with').fill('');
  await admin.page.getByLabel('Team begins with').fill('');
  await admin.page.getByLabel('Transport').selectOption('polling');
  await admin.rows(1);
  await admin.page.getByLabel('Transport').selectOption('');
  await admin.page.getByLabel('Address or network').fill('10.0.0.0/8');
  await admin.says(admin.page.locator('.nothing'), /Nobody is connected/);
  await admin.page.getByLabel('Address or network').fill('127.0.0.0/8');
  await admin.rows(3);
  admin.fine();
  await admin.page.getByLabel('Address or network').fill('nowhere');
  await admin.says(admin.page.getByRole('alert'), /IP address/);
  await admin.page.getByLabel('Address or network').fill('');
  await admin.rows(3);

  // By keyboard: the dialog opens, Escape leaves it, and nothing has happened.
  await admin.row('ann').getByRole('button', { name: 'Disconnect ann' }).press('Enter');
  await admin.says(admin.page.getByRole('dialog'), /Disconnect ann\?[^]*come back by themselves/);
  await admin.page.keyboard.press('Escape');
  await until('the dialog to close', async () => (await admin.page.getByRole('dialog').count()) === 0);
  assert.equal(ann.all('disconnect').length, 0);
  await admin.row('ann').getByRole('button', { name: 'Disconnect ann' }).click();
  await admin.page.getByRole('dialog').getByLabel(/^Reason/).fill('a test');
  await admin.answer('Disconnect');
  await admin.told(/Closed 1 connection\./);
  await ann.happened('disconnect');
  await ann.happened('connect', 2);
  assert.equal(ben.all('disconnect').length, 0);

  // Whoever is connected twice is closed twice.
  const again = await stage.member(admin.server.url, 'ann', 'design');
  await admin.rows(4);
  await admin.row('ann').first().getByRole('button', { name: /every connection of user ann/ }).click();
  await admin.answer('Disconnect all');
  await admin.told(/Closed 2 connections\./);
  await again.happened('disconnect');
  await ann.happened('disconnect', 2);
  assert.equal(ben.all('disconnect').length, 0);
});

scenario('teams: members and rates, and disconnecting all of one', async (stage) => {
  const admin = await Admin.open(stage);
  const [ann, ben, cleo] = await clients(stage, admin.server);
  await admin.view('Teams');
  await admin.rows(2);
  await admin.says(admin.row('design'), /\b2\b/);
  await admin.row('ops').getByRole('link', { name: /Who/ }).click();
  await admin.rows(1);
  await admin.says(admin.row('cleo'), /ops/);
  await admin.view('Teams');
  await admin.row('design').getByRole('button', { name: /^Disconnect/ }).click();
  await admin.answer('Cancel');
  await admin.row('design').getByRole('button', { name: /^Disconnect/ }).click();
  await admin.answer('Disconnect all');
  await admin.told(/Closed 2 connections\./);
  await Promise.all([ann.happened('disconnect'), ben.happened('disconnect')]);
  assert.equal(cleo.all('disconnect').length, 0);
  admin.fine();
});

scenario('several nodes: who is there, whose policy is another, and members and disconnections everywhere', async (stage) => {
  const redis = await startRedis(stage);
  const node = (name, more = '') => ({ overlay: `[bus]\ndriver = "redis"\nnode = "${name}"\n[bus.redis]\nurl = "${redis.url}"\n${more}` });
  const admin = await Admin.open(stage, node('web-1'));
  const other = await stage.flowgate(node('web-2', '[refusals]\ndetail = "full"\n'));
  const ann = await stage.member(admin.server.url, 'ann', 'design');
  const ben = await stage.member(other.url, 'ben', 'design');
  await admin.says(admin.row('web-1'), /web-1 \(this one\)/);
  await admin.says(admin.row('web-2'), /[0-9a-f]{12} \(another\)\s+1\s/);
  await admin.says(admin.page.getByRole('region', { name: 'Nodes' }).locator('xpath=../..'), /Not all nodes act by the same policy/);
  await admin.view('Teams');
  await admin.says(admin.row('design'), /2 \(1 here\)/);
  await admin.row('design').getByRole('button', { name: /^Disconnect/ }).click();
  await admin.answer('Disconnect all');
  await admin.told(/Closed 2 connections on 2 nodes\./);
  await Promise.all([ann.happened('disconnect'), ben.happened('disconnect')]);
  await redis.kill();
  await admin.view('Overview');
  await admin.says(admin.page.locator('section', { has: admin.page.getByRole('heading', { name: 'Nodes' }) }), /Redis is away/);
  await admin.view('Teams');
  await admin.says(admin.page.locator('.count'), /members of other nodes are not counted/);
  admin.fine();
});

scenario('decisions arrive as they are made, each refusal with its reason', async (stage) => {
  const admin = await Admin.open(stage);
  const [ann] = await clients(stage, admin.server);
  await admin.view('Decisions');
  await ann.change({ type: 'task-exploded' });
  await admin.says(admin.row('unknown_type'), /refused\s*unknown_type[^]*ann[^]*No such type of change[^]*events\.database-change\.types[^]*stage validate/);
  await ann.change({ type: 'task-updated', taskId: 1, timestamp: 1 });
  await admin.says(admin.row('stale_timestamp'), /replay/);
  await admin.page.getByLabel('With these letters').fill('STALE');
  await admin.rows(1);
  await admin.page.getByLabel('With these letters').fill('');
  await admin.page.getByLabel('Show').selectOption('accepted');
  await until('refusals to be left out', async () => (await admin.row('refused').count()) === 0);
  await admin.page.getByLabel('Show').selectOption('refused');
  await admin.rows(2);
  const pause = admin.page.getByRole('button', { name: 'Pause' });
  await pause.click();
  await ann.change({ type: 'task-updated' });
  await admin.says(admin.page.locator('.count'), /Paused/);
  assert.equal(await admin.row('missing_field').count(), 0);
  await admin.page.getByRole('button', { name: 'Go on' }).click();
  await admin.rows(3);
  await admin.page.getByRole('button', { name: 'Clear' }).click();
  await admin.says(admin.page.locator('.nothing'), /Nothing has been decided/);
  admin.fine();
});

scenario('the overview counts, and its charts have tables', async (stage) => {
  const admin = await Admin.open(stage);
  const [ann] = await clients(stage, admin.server);
  const tile = (name) => admin.page.locator('.tile').filter({ hasText: name }).locator('dd').first();
  await admin.says(tile('peers'), /^3$/);
  await admin.says(tile('teams'), /^2$/);
  await admin.says(tile('memory'), /^\d[\d.]* MB$/);
  for (let sent = 0; sent < 20; sent += 1) await ann.change({ type: 'task-updated', taskId: sent });
  await ann.change({ type: 'task-exploded' });
  const figure = (title) => admin.page.getByRole('figure').filter({ has: admin.page.getByRole('heading', { name: title }) });
  const spoken = (title) => figure(title).getByRole('img').getAttribute('aria-label');
  let last;
  await until('a sample with the events', async () => /relayed now [^;]*at most [1-9]/.test((last = await spoken('Events'))), { seen: () => last });
  await until('the refusal', async () => /unknown_type/.test((last = await spoken('Refusals by code'))), { seen: () => last });
  await figure('Events').getByText('As a table').click();
  await admin.says(figure('Events').getByRole('table'), /at\s+relayed\s+refused[^]*\d\d:\d\d:\d\d/);
  admin.fine();
});

scenario('the policy in force, and taking in another or keeping the old one', async (stage) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'flowgate-admin-'));
  stage.defer(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'team.toml');
  const write = (more) => writeFile(file, `${ONE_ISSUER}${GENEROUS_LIMITS}${more}`);
  await write('[limits.payload]\nmax_depth = 5\n');
  const admin = await Admin.open(stage, { config: [file] });
  await admin.view('Policy');
  await admin.says(admin.page.locator('.facts'), /hash\s+[0-9a-f]{8,}[^]*in force since[^]*edition\s+1/);
  const hash = await admin.page.locator('.hash').innerText();
  await admin.page.getByLabel('Settings with these letters').fill('max_depth');
  await admin.rows(1);
  await admin.says(admin.row('limits.payload.max_depth'), /5[^]*team\.toml/);

  await write('[limits.payload]\nmax_dpth = 5\n');
  const reload = async () => {
    await admin.page.getByRole('button', { name: /^Reload/ }).click();
    await admin.answer('Reload');
  };
  await reload();
  await admin.says(admin.page.locator('.outcome-of-reload'), /not used[^]*stays in force[^]*max_dpth[^]*max_depth/);
  assert.equal(await admin.page.locator('.hash').innerText(), hash);
  await write('[limits.payload]\nmax_depth = 6\n');
  await reload();
  await admin.says(admin.page.locator('.outcome-of-reload'), /new policy is in force[^]*max_depth/);
  await until('another hash', async () => (await admin.page.locator('.hash').innerText()) !== hash);
  await admin.says(admin.row('limits.payload.max_depth'), /6/);
});

scenario('what observing checks would refuse, as a share of its type', async (stage) => {
  const admin = await Admin.open(stage, { overlay: '[events.database-change]\nvalidation = "observe"\n' });
  const [ann] = await clients(stage, admin.server);
  await admin.view('Observed');
  await admin.says(admin.page.locator('.nothing'), /Nothing would be refused/);
  for (let sent = 0; sent < 31; sent += 1) await ann.change({ type: 'task-updated', taskId: sent, timestamp: Date.now() });
  await ann.change({ type: 'task-updated', taskId: 7, timestamp: 1 });
  await admin.says(admin.page.locator('.shares'), /Would refuse 3\.1% of task-updated: stale_timestamp\s+1 of 32 events/);
  admin.fine();
});

scenario('revoking from a row, from the form, and undoing it', async (stage) => {
  const admin = await Admin.open(stage);
  const [ann, ben] = await clients(stage, admin.server);
  await admin.view('Connections');
  await admin.row('ann').getByRole('button', { name: 'Revoke the tokens of ann' }).click();
  await admin.page.getByRole('dialog').getByLabel(/^Reason/).fill('laptop stolen');
  await admin.answer('Revoke');
  await admin.told(/Revoked, and closed 1 connection\.[^]*not kept across restarts/);
  assert.equal((await ann.happened('connect_error')).message, 'token_revoked');
  await admin.view('Revocations');
  await admin.says(admin.row('subject ann'), /laptop stolen/);

  await admin.page.getByRole('button', { name: /^Revoke/ }).click();
  const dialog = admin.page.getByRole('dialog');
  await dialog.getByLabel('Which tokens').selectOption('issuedBefore');
  await dialog.getByLabel(/^Subject, team/).fill('yesterday');
  await admin.answer('Revoke');
  await admin.says(dialog.getByRole('alert'), /issuedBefore/);
  await dialog.getByLabel('Which tokens').selectOption('team');
  await dialog.getByLabel(/^Subject, team/).fill('design');
  await dialog.getByLabel(/^Shut out/).fill('30m');
  await admin.answer('Revoke');
  await ben.happened('disconnect');
  await admin.rows(2);
  await admin.row('subject ann').getByRole('button', { name: /^Undo/ }).click();
  await admin.answer('Undo');
  await admin.rows(1);
  await admin.row('team design').getByRole('button', { name: /^Undo/ }).click();
  await admin.answer('Undo');
  await admin.says(admin.page.locator('.nothing'), /Nothing is revoked/);
  const again = stage.client(admin.server.url, { token: mint({ sub: 'ann', teams: ['design'] }) });
  await again.ready();
});

for (const [name, look] of Object.entries(LOOKS)) {
  scenario(`nothing serious is in the way of anybody: ${name}`, async (stage) => {
    const observing = '[events.database-change]\nvalidation = "observe"\n[[rules]]\nname = "only editors delete"\non = ["task-updated"]\nallow_if = \'"editor" in peer.roles\'\n';
    const admin = await Admin.open(stage, { look, signIn: false, overlay: observing });
    const check = async (what) => {
      assert.deepEqual(await seriousFindings(admin.page), [], what);
      assert.equal(await sticksOut(admin.page), false, what);
    };
    await check('sign in');
    await admin.signIn();
    const [ann, ben, cleo] = await clients(stage, admin.server);
    for (let sent = 0; sent < 40; sent += 1) {
      await ann.change({ type: 'task-created', timestamp: sent % 9 ? Date.now() : 1 });
      await cleo.change({ type: 'task-created' });
      await ben.change({ type: 'task-updated', taskId: 7 });
    }
    const sampled = /at most [1-9]/;
    await until('a sample', async () => sampled.test(await admin.page.getByRole('img', { name: /^Events/ }).getAttribute('aria-label')));
    for (const view of VIEWS) {
      await admin.view(view);
      if (view === 'Decisions') {
        await ben.change({ type: 'task-updated', taskId: 7 });
        await admin.says(admin.row('not_allowed').first(), /not_allowed/);
      } else if (!['Overview', 'Policy', 'Observed', 'Revocations'].includes(view)) {
        await until('rows', async () => (await admin.page.locator('tbody tr').count()) > 0);
      } else if (view === 'Observed') {
        await admin.says(admin.page.locator('.shares'), /Would refuse/);
      }
      await check(view);
      await picture(admin.page, `admin-${view.toLowerCase()}-${name}`);
    }
    await admin.page.getByRole('button', { name: /^Revoke/ }).click();
    await check('dialog');
    admin.fine();
  });
}
