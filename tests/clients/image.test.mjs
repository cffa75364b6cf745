// The Dockerfile, as far as it can be judged without building it: a builder of images is not everywhere at hand.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { REPOSITORY } from './harness/flowgate.mjs';

const read = (file) => readFileSync(path.join(REPOSITORY, file), 'utf8');

/** The instructions of each stage, as `{ name, args }`, each beginning with its FROM. */
function stagesOf(text) {
  const lines = text.replace(/^\s*#.*\n/gm, '').replace(/\\\n\s*/g, ' ').split('\n').filter((line) => line.trim());
  const stages = [];
  for (const line of lines) {
    const [, name, args] = /^\s*([A-Z]+)\s+(.*)$/.exec(line) ?? assert.fail(`no instruction: ${line}`);
    if (name === 'FROM') stages.push([]);
    stages.at(-1).push({ name, args });
  }
  return stages;
}

const stages = stagesOf(read('Dockerfile'));
const build = stages[0];
const image = stages.at(-1);
const all = (stage, name) => stage.filter((each) => each.name === name).map(({ args }) => args);
const only = (name) => {
  const found = all(image, name);
  assert.equal(found.length, 1, `${name} stands ${found.length} times in the image's own stage`);
  return found[0];
};

test('every COPY names what exists and what .dockerignore lets through', () => {
  const ignore = read('.dockerignore').split('\n').filter((line) => line && !line.startsWith('#'));
  assert.equal(ignore[0], '*', '.dockerignore no longer begins by leaving everything out');
  const admitted = new Set(ignore.slice(1).map((line) => line.replace(/^!/, '')));
  for (const args of stages.flatMap((stage) => all(stage, 'COPY'))) {
    const words = args.split(/\s+/);
    const from = words.find((word) => word.startsWith('--from='))?.slice('--from='.length);
    const sources = words.filter((word) => !word.startsWith('--')).slice(0, -1);
    assert.notEqual(sources.length, 0, args);
    if (from) {
      assert.ok(stages.some((stage) => stage[0].args.endsWith(` AS ${from}`)), `there is no stage ${from}`);
      continue;
    }
    for (const source of sources) {
      assert.ok(existsSync(path.join(REPOSITORY, source)), `there is no ${source}`);
      assert.ok(admitted.has(source), `.dockerignore leaves ${source} out`);
    }
  }
});

test('the layer of dependencies satisfies the manifest', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'flowgate-image-'));
  try {
    const [first] = all(build, 'COPY');
    for (const file of first.split(/\s+/).slice(0, -1)) cpSync(path.join(REPOSITORY, file), path.join(folder, file));
    const [emptySources] = all(build, 'RUN');
    assert.doesNotMatch(emptySources, /cargo/);
    execFileSync('sh', ['-ec', emptySources], { cwd: folder });
    const args = ['metadata', '--no-deps', '--offline', '--format-version', '1'];
    const { packages } = JSON.parse(execFileSync('cargo', args, { cwd: folder, encoding: 'utf8' }));
    const kinds = packages[0].targets.filter(({ name }) => name === 'flowgate').flatMap(({ kind }) => kind);
    assert.deepEqual(kinds.sort(), ['bin', 'lib']);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the toolchain is new enough for the manifest', () => {
  const [, wanted] = /^rust-version = "(\d+\.\d+)/m.exec(read('Cargo.toml'));
  const [, given] = /^rust:(\d+\.\d+)\.\d+/.exec(build[0].args);
  assert.ok(Number(given.split('.')[1]) >= Number(wanted.split('.')[1]), `${given} is older than ${wanted}`);
});

test('base images are pinned to a full version, and both are of one Debian release', () => {
  for (const stage of stages) assert.match(stage[0].args, /^[a-z]+:\d+\.\d+(\.\d+)?-[a-z]+( AS [a-z]+)?$/);
  assert.match(build[0].args, /-bookworm/);
  assert.match(image[0].args, /^debian:12\./);
});

test('it runs as a numbered user that is not root, and writes nowhere', () => {
  assert.match(only('USER'), /^[1-9]\d*:[1-9]\d*$/);
  assert.deepEqual(all(image, 'VOLUME'), []);
  assert.deepEqual(all(image, 'RUN'), [], 'the image itself needs no command, and so no shell');
});

test('it starts, stops and tells its health without a shell', () => {
  assert.deepEqual(JSON.parse(only('ENTRYPOINT')), ['/usr/local/bin/flowgate']);
  assert.deepEqual(JSON.parse(only('CMD')), ['serve']);
  assert.deepEqual(JSON.parse(/\bCMD (\[.*\])$/.exec(only('HEALTHCHECK'))[1]), ['/usr/local/bin/flowgate', 'health']);
  assert.equal(only('STOPSIGNAL'), 'SIGTERM');
});

test('it listens for everybody on the public port and for itself on the internal one', () => {
  assert.ok(all(image, 'ENV').includes('FLOWGATE__SERVER__LISTEN=0.0.0.0:3000'));
  assert.ok(all(image, 'ENV').includes('FLOWGATE_CONFIG=/etc/flowgate'), 'every command reads the mounted files');
  assert.deepEqual(only('EXPOSE').split(' '), ['3000', '3001']);
});

test('nothing is fetched by ADD, and no secret is baked in', () => {
  for (const stage of stages) {
    assert.deepEqual(all(stage, 'ADD'), []);
    for (const args of [...all(stage, 'ENV'), ...all(stage, 'ARG')]) assert.doesNotMatch(args, /secret|token|password/i);
  }
});
