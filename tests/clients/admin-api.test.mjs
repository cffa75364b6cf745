// The admin API against its own description: schemathesis makes requests of all kinds from docs/openapi.json and holds the
// answers to it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { REPOSITORY } from './harness/flowgate.mjs';
import { scenario } from './harness/scenario.mjs';

const PYTHON = process.env.FLOWGATE_PYTHON ?? path.join(REPOSITORY, '.cache', 'python', 'bin', 'python');
const TOKEN = 'the-admin-token-of-these-tests';

// The same requests each time; more of them find no more, and take longer.
const SETTINGS = ['--max-examples=15', '--seed=1', '--generation-deterministic', '--workers=1'];

// A schema cannot say which texts are cursors, addresses, durations and reasons of at most so many bytes; what is not one
// is refused. Without the token there is a 401 only until there have been too many, which is what the Rust tests look at.
const CHECKS = ['--checks=all', '--exclude-checks=positive_data_acceptance,ignored_auth'];

scenario('every answer of the admin API is as its description says', async (stage) => {
  assert.ok(existsSync(PYTHON), `there is no ${PYTHON}: \`tests/run clients\` makes it, or set FLOWGATE_PYTHON`);
  const overlay = '[events.database-change]\nvalidation = "observe"\n';
  const { url, internalUrl } = await stage.flowgate({ overlay, env: { FLOWGATE_ADMIN_TOKEN: TOKEN } });
  for (const [sub, teams] of [['alice', ['design', 'ops']], ['bob', ['design']], ['carol', ['ops']]]) {
    const client = await stage.member(url, sub, teams, { transports: ['websocket'] });
    client.socket.emit('database-change', { type: 'task-updated', taskId: 1, team: teams[0] });
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'flowgate-schemathesis-'));
  stage.defer(() => rmSync(folder, { recursive: true, force: true }));
  const schemathesis = path.join(path.dirname(PYTHON), 'schemathesis');
  const run = promisify(execFile)(
    schemathesis,
    // The stream does not end, so there is no answer to look at.
    ['run', `${internalUrl}/api/openapi.json`, '--header', `Authorization: Bearer ${TOKEN}`, '--exclude-path=/live', '--no-color', ...SETTINGS, ...CHECKS],
    // It leaves notes of its own where it runs.
    { cwd: folder, env: { PATH: process.env.PATH, PYTHONDONTWRITEBYTECODE: '1', HOME: process.env.HOME }, maxBuffer: 64 << 20 },
  );
  const { stdout } = await run.catch((error) => assert.fail(`${error.stdout}\n${error.stderr}`));
  console.log(stdout.trimEnd().split('\n').slice(-25).join('\n'));
  // A run that tested nothing would pass too.
  assert.match(stdout, /Tested: 1[5-9]|Tested: 2\d/);
  assert.equal((await fetch(`${internalUrl}/live`)).status, 200);
});
