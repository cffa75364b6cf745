// Runs python/test_client.py against a flowgate of its own.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { REPOSITORY } from './harness/flowgate.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';

const PYTHON = process.env.FLOWGATE_PYTHON ?? path.join(REPOSITORY, '.cache', 'python', 'bin', 'python');
const FOLDER = path.join(import.meta.dirname, 'python');

scenario('python-socketio over polling and WebSocket, synchronous and asynchronous', async (stage) => {
  assert.ok(existsSync(PYTHON), `there is no ${PYTHON}: \`tests/run clients\` makes it, or set FLOWGATE_PYTHON`);
  const { url } = await stage.flowgate();
  const env = {
    PATH: process.env.PATH,
    PYTHONDONTWRITEBYTECODE: '1',
    FLOWGATE_URL: url,
    TOKEN_ALICE: mint({ sub: 'alice', teams: ['design'] }),
    TOKEN_BOB: mint({ sub: 'bob', teams: ['design'] }),
    TOKEN_CAROL: mint({ sub: 'carol', teams: ['ops'] }),
    TOKEN_EXPIRED: mint({ sub: 'alice', teams: ['design'], ttl: -3600 }),
  };
  const { stderr } = await promisify(execFile)(PYTHON, ['-m', 'unittest', '-v', 'test_client'], { cwd: FOLDER, env });
  // unittest reports on standard error; an empty run would pass too.
  assert.match(stderr, /^Ran [1-9]\d* tests? in /m);
  console.log(stderr.trimEnd());
});
