// The playground of `serve --dev`, in Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { REPOSITORY } from './harness/flowgate.mjs';
import { launchBrowser, servePage } from './harness/page.mjs';
import { scenario } from './harness/scenario.mjs';
import { LOOKS, openPage, picture, seriousFindings, sticksOut } from './harness/sight.mjs';
import { until } from './harness/wait.mjs';

/** The playground in a browser, its three clients connected. */
class Playground {
  static async open(stage, { look, overlay } = {}) {
    const server = await stage.flowgate({ dev: true, overlay });
    const playground = new Playground();
    playground.server = server;
    playground.page = await openPage(stage, await launchBrowser(stage), server.internalUrl, look);
    for (const user of ['ann', 'ben', 'cleo']) await playground.connected(user);
    return playground;
  }

  pane(user) {
    return this.page.getByRole('article', { name: new RegExp(`^${user} ?, team `) });
  }

  async says(what, locator, pattern) {
    let last;
    await until(`${what} to say ${pattern}`, async () => pattern.test((last = await locator.innerText())), { seen: () => last });
  }

  connected(user, by = 'websocket') {
    return this.says(user, this.pane(user).locator('.state'), new RegExp(`connected\\s+by ${by}`));
  }

  press(user, attempt) {
    return this.pane(user).locator(`[data-attempt=${attempt}]`).click();
  }

  answers(user, pattern) {
    return this.says(`the answer to ${user}`, this.pane(user).locator('.answer'), pattern);
  }

  /** What a pane has heard, the latest first: `ann task-updated #7`, and how many at once. */
  async heard(user) {
    const lines = await this.pane(user).locator('.arrival').allInnerTexts();
    return lines.map((line) => line.split('\n').filter((word) => word && !/^\d\d:|^[a-z]$/.test(word)).join(' '));
  }

  async hears(user, wanted) {
    let last;
    const same = () => JSON.stringify(last) === JSON.stringify(wanted);
    await until(`${user} to hear ${wanted}`, async () => ((last = await this.heard(user)), same()), { seen: () => last });
  }

  /** The journal's latest entry. */
  journal(pattern) {
    return this.says('the journal', this.page.locator('.entry').first(), pattern);
  }

  /** Nothing has gone wrong in the page. `ended`: connections were, which browsers write into the console when one is in the middle of its upgrade. */
  fine({ ended = false } = {}) {
    const ofItsEnd = /^WebSocket connection to .* closed before the connection is established|^Failed to load resource: .* 400 /;
    assert.deepEqual(this.page.complaints.filter((complaint) => !(ended && ofItsEnd.test(complaint))), []);
  }
}

scenario('what one pane sends arrives in those of its team, and the page says who heard it and why others did not', async (stage) => {
  const playground = await Playground.open(stage);
  await playground.pane('ann').getByLabel('taskId').fill('42');
  await playground.pane('ann').getByRole('button', { name: /^Send/ }).click();
  await playground.answers('ann', /accepted\s+Relayed to team design/);
  await playground.hears('ann', ['ann task-updated #42']);
  await playground.hears('ben', ['ann task-updated #42']);
  await playground.journal(/ann\s+sent[^]*accepted[^]*ann heard it[^]*ben heard it[^]*cleo did not: it went to team design, and cleo is in team ops/);

  await playground.press('cleo', 'valid');
  await playground.hears('cleo', ['cleo task-updated #7']);
  await playground.press('ben', 'valid');
  await playground.hears('ann', ['ben task-updated #7', 'ann task-updated #42']);
  await playground.hears('cleo', ['cleo task-updated #7']);
  assert.equal(await playground.page.locator('.steps .done').count(), 1);
  playground.fine();
});

scenario('where nobody is asked who they are, it says so, and everybody hears', async (stage) => {
  const playground = await Playground.open(stage, { overlay: '[auth]\nmode = "off"\n' });
  await playground.says('the page', playground.page.locator('#open'), /auth\.mode = "off"/);
  await playground.press('ann', 'valid');
  await playground.answers('ann', /accepted\s+Relayed to everybody/);
  await playground.hears('cleo', ['ann task-updated #7']);
  await playground.journal(/cleo heard it/);
  playground.fine();
});

/** What each of the buttons is answered by the policy of `--dev`. */
const REFUSALS = {
  'unknown-type': 'unknown_type',
  'missing-field': 'missing_field',
  'stale-timestamp': 'stale_timestamp',
  'too-large': 'too_large',
  'other-team': 'unknown_field',
  'no-payload': 'invalid_payload',
};

scenario('each button that sends something wrong shows its code, in a sentence and in the server’s words', async (stage) => {
  const playground = await Playground.open(stage);
  for (const [attempt, code] of Object.entries(REFUSALS)) {
    await playground.press('ben', attempt);
    await playground.answers('ben', new RegExp(`refused\\s*${code}\\s+\\w+[^]+The server adds: “.+” By \\S+`));
    await playground.journal(new RegExp(`ben\\s+sent[^]*refused\\s*${code}\\s*Nobody heard it`));
  }
  await playground.press('ann', 'flood');
  await playground.answers('ann', /\d+ accepted[^]*\d+ refused\s*rate_limited[^]*Again after \d+ ms/);
  const [heard] = await playground.heard('ben');
  assert.match(heard, /^ann task-updated #7 ×[45]\d$/);
  await playground.hears('cleo', []);
  // The second brings more than a hundred refusals within a minute, which is what the policy bears.
  await playground.press('ann', 'flood');
  await playground.answers('ann', /closed\s+After 1\d\d refusals[^]*limits\.events\.disconnect_after[^]*comes back by itself/);
  await playground.connected('ann');
  playground.fine({ ended: true });
});

scenario('a payload written by hand is sent as it is, and what is not JSON is said', async (stage) => {
  const playground = await Playground.open(stage);
  const payload = playground.pane('ann').getByLabel(/^payload/);
  await payload.fill('{"type":"task-moved","taskId":"a","extra":1}');
  await payload.press('Tab');
  // By keyboard: the next thing is the button.
  await playground.page.keyboard.press('Enter');
  await playground.answers('ann', /unknown_field[^]*at extra/);
  await payload.fill('{"type":');
  await playground.pane('ann').getByRole('button', { name: /^Send/ }).press('Space');
  await playground.answers('ann', /This is not JSON/);
  await payload.fill('{"type":"task-moved","taskId":"<b>a</b>"}');
  await playground.pane('ann').getByRole('button', { name: /^Send/ }).press('Enter');
  await playground.hears('ben', ['ann task-moved #<b>a</b>']);
  playground.fine();
});

scenario('a pane is added for anybody, and taken away', async (stage) => {
  const playground = await Playground.open(stage);
  const { page } = playground;
  await page.getByRole('button', { name: 'Add a pane' }).click();
  const dialog = page.getByRole('dialog', { name: 'Add a pane' });
  await dialog.getByLabel('User').fill('dora');
  await dialog.getByLabel(/^Teams/).fill('x'.repeat(65));
  await dialog.getByRole('button', { name: 'Connect' }).click();
  await playground.says('the dialog', dialog, /1 to 64 bytes/);
  // Browsers write every answer that is no success into the console.
  assert.match(playground.page.complaints.splice(0).join(), /^Failed to load resource: [^,]*400[^,]*$/);
  await dialog.getByLabel(/^Teams/).fill('ops');
  await dialog.getByLabel(/^Roles/).fill('viewer, editor');
  await dialog.getByRole('button', { name: 'Connect' }).click();
  await playground.connected('dora');
  await playground.press('cleo', 'valid');
  await playground.hears('dora', ['cleo task-updated #7']);
  await playground.pane('dora').getByRole('button', { name: 'Remove' }).click();
  await until('the pane to go', async () => (await playground.pane('dora').count()) === 0);
  // Who is in no team is turned away at CONNECT.
  await page.getByRole('button', { name: 'Add a pane' }).click();
  await dialog.getByLabel('User').fill('emil');
  await dialog.getByLabel(/^Teams/).fill('');
  await page.keyboard.press('Enter');
  await playground.answers('emil', /connect_error\s*no_team[^]*final/);
  playground.fine({ ended: true });
});

scenario('a forged token is refused for good, and a right one gets in again', async (stage) => {
  const playground = await Playground.open(stage);
  await playground.pane('ann').getByRole('button', { name: 'Forge the token' }).click();
  await playground.answers('ann', /connect_error\s*token_invalid[^]*final/);
  await playground.press('ann', 'valid');
  await playground.answers('ann', /ann is not connected/);
  await playground.press('ben', 'valid');
  await playground.journal(/ann did not: it is not connected[^]*ben heard it/);
  await playground.pane('ann').getByRole('button', { name: 'Connect' }).click();
  await playground.connected('ann');
  playground.fine({ ended: true });
});

scenario('the client that it shows works as it is', async (stage) => {
  const playground = await Playground.open(stage);
  await playground.page.locator('#own-user').selectOption('ben');
  let text;
  const claims = () => JSON.parse(Buffer.from(/token: "[^.]+\.([^.]+)\./.exec(text)[1], 'base64url').toString());
  await until('ben’s client', async () => (text = await playground.page.locator('#snippet').innerText()) && claims().sub === 'ben');
  const child = spawn(process.execPath, ['--input-type=module', '-'], { cwd: import.meta.dirname, stdio: ['pipe', 'pipe', 'inherit'] });
  stage.defer(() => child.kill());
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (more) => (said += more));
  child.stdin.end(text);
  await until('its answer', () => /changed [^]*answer { ok: true/.test(said), { seen: () => said });
  await playground.says('ann’s pane', playground.pane('ann').locator('.arrival'), /from outside this page/);
  playground.fine();
});

for (const [name, look] of Object.entries(LOOKS)) {
  scenario(`nothing serious is in the way of anybody: ${name}`, async (stage) => {
    const playground = await Playground.open(stage, { look });
    const { page } = playground;
    await playground.press('cleo', 'valid');
    await playground.press('ben', 'stale-timestamp');
    await playground.answers('ben', /stale_timestamp/);
    await playground.pane('ann').getByRole('button', { name: /^Send/ }).click();
    await playground.press('ann', 'flood');
    await playground.answers('ann', /rate_limited/);
    await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
    assert.deepEqual(await seriousFindings(page), []);
    assert.equal(await sticksOut(page), false);
    await page.evaluate(() => globalThis.scrollTo(0, 0));
    await picture(page, `playground-${name}`);
    await page.getByRole('button', { name: 'Add a pane' }).click();
    await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
    assert.deepEqual(await seriousFindings(page), []);
    playground.fine();
  });
}

scenario('only its own page is given tokens', async (stage) => {
  const { internalUrl } = await stage.flowgate({ dev: true });
  const ask = (headers, body = '{"user":"eve","teams":["design"]}') =>
    fetch(`${internalUrl}/playground/token`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });
  assert.equal((await ask({})).status, 200);
  assert.equal((await ask({ origin: internalUrl })).status, 200);
  for (const origin of ['http://localhost:5173', 'https://evil.test', 'null']) assert.equal((await ask({ origin })).status, 403, origin);
  assert.equal((await ask({ 'content-type': 'text/plain' })).status, 415);
  assert.equal((await ask({}, '{"user":"eve"}')).status, 422);
  assert.equal((await ask({}, JSON.stringify({ user: 'eve', teams: Array(9).fill('t') }))).status, 400);
  assert.equal((await ask({}, JSON.stringify({ user: 'e'.repeat(5000), teams: [] }))).status, 413);
  assert.equal((await fetch(`${internalUrl}/playground/token`)).status, 405);

  // Another page of this machine, in a browser: it is neither told nor obeyed.
  const stranger = await servePage(stage);
  stranger.folder = path.join(import.meta.dirname, 'browser');
  const page = await openPage(stage, await launchBrowser(stage), `${stranger.origin}/index.html`);
  const stolen = (type) =>
    page.evaluate(
      ([url, kind]) =>
        fetch(`${url}/playground/token`, { method: 'POST', headers: { 'content-type': kind }, body: '{"user":"eve","teams":["design"]}' }).then(
          (answer) => answer.text(),
          () => 'nothing',
        ),
      [internalUrl, type],
    );
  assert.equal(await stolen('application/json'), 'nothing');
  assert.equal(await stolen('text/plain'), 'nothing');
});

scenario('without --dev there is nothing of it', async (stage) => {
  const { url, internalUrl } = await stage.flowgate();
  for (const address of ['/playground', '/playground/', '/playground/playground.js', '/playground/server', '/playground/docs/policy.md']) {
    for (const port of [url, internalUrl]) assert.equal((await fetch(port + address)).status, 404, port + address);
  }
  const minted = await fetch(`${internalUrl}/playground/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"user":"eve","teams":["design"]}',
  });
  assert.equal(minted.status, 404);
});

scenario('with --dev nothing of it is on the public port, and its address is printed first', async (stage) => {
  const server = await stage.flowgate({ dev: true });
  assert.equal((await fetch(`${server.url}/playground`)).status, 404);
  await until('the welcome', () => server.stdout.includes('Development mode'));
  assert.equal(server.stdout.split('\n').filter(Boolean)[2].trim(), `➜  Open the playground: ${server.internalUrl}/playground`);
  const answer = await fetch(`${server.internalUrl}/playground`);
  const policy = answer.headers.get('content-security-policy');
  assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
  assert.ok(!policy.includes('unsafe'), policy);
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
});

test('the socket.io-client in the page is the one of the npm package, byte for byte', async () => {
  const ours = await readFile(path.join(REPOSITORY, 'src/internal/page/socket.io.min.js'));
  const theirs = await readFile(path.join(import.meta.dirname, 'node_modules/socket.io-client/dist/socket.io.min.js'));
  assert.ok(ours.equals(theirs), 'copy node_modules/socket.io-client/dist/socket.io.min.js to src/internal/page');
});
