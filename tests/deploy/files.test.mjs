// The shipped deployment files, checked by the tools of those who will read them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { ONE_ISSUER, writeConfig } from '../clients/harness/config.mjs';
import { binary, Flowgate, REPOSITORY, run } from '../clients/harness/flowgate.mjs';

const SECRETS = {
  FLOWGATE_JWT_SECRET: 's'.repeat(64),
  FLOWGATE_ADMIN_TOKEN: 'a'.repeat(64),
  FLOWGATE_BUS_SECRET: 'b'.repeat(64),
  FLOWGATE_REDIS_PASSWORD: 'r'.repeat(64),
};
// For one node, and for several.
const MANIFESTS = ['kubernetes/flowgate.yaml', 'kubernetes/flowgate-nodes.yaml'];
const COMPOSED = ['compose', 'compose-nodes'];
const DEPLOY = path.join(REPOSITORY, 'deploy');
const read = (file) => readFileSync(path.join(DEPLOY, file), 'utf8');

/** Runs a program to its end; what it prints and its exit code. */
function tool(command, args, options = {}) {
  return new Promise((resolve) => {
    execFile(command, args, options, (error, stdout, stderr) => resolve({ code: error ? (error.code ?? 1) : 0, stdout, stderr }));
  });
}

function temporary(t) {
  const folder = mkdtempSync(path.join(tmpdir(), 'flowgate-deploy-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The documents of a YAML file. */
async function yaml(file) {
  const script = 'import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))';
  const { code, stdout, stderr } = await tool(process.env.FLOWGATE_PYTHON, ['-c', script, path.join(DEPLOY, file)]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

async function accepts(paths) {
  const checked = await run(['check', ...paths.flatMap((file) => ['--config', file])], SECRETS);
  assert.equal(checked.code, 0, checked.stdout + checked.stderr);
}

test('the systemd unit is one that systemd takes, and little is left to it that it does not need', async (t) => {
  const folder = temporary(t);
  // systemd wants the program to be there.
  const unit = path.join(folder, 'flowgate.service');
  writeFileSync(unit, read('systemd/flowgate.service').replaceAll('/usr/local/bin/flowgate', binary()));
  const verified = await tool('systemd-analyze', ['verify', unit]);
  assert.deepEqual({ ...verified, stdout: '' }, { code: 0, stdout: '', stderr: '' });
  // Of ten, the fewer the better; an ordinary service has above nine.
  const exposure = await tool('systemd-analyze', ['security', '--offline=true', '--threshold=20', unit]);
  assert.equal(exposure.code, 0, exposure.stdout);
  assert.match(read('systemd/flowgate.service'), /^RestartPreventExitStatus=78$/m);
});

for (const file of MANIFESTS) test(`the documents of ${file} are what its API takes, and name each other rightly`, async (t) => {
  const python = path.dirname(process.env.FLOWGATE_PYTHON);
  const manifest = path.join(DEPLOY, file);
  const validated = await tool(path.join(python, 'kubernetes-validate'), ['--strict', '--kubernetes-version', '1.31', manifest]);
  assert.equal(validated.code, 0, validated.stdout + validated.stderr);

  const documents = await yaml(file);
  const one = (kind, name = 'flowgate') => documents.find((each) => each.kind === kind && each.metadata.name === name);
  const pod = one('Deployment').spec.template;
  const [container] = pod.spec.containers;
  const ports = container.ports.map(({ name }) => name);
  for (const service of documents.filter(({ kind }) => kind === 'Service')) {
    const behind = documents.find(({ kind, spec }) => kind === 'Deployment' && same(spec.template.metadata.labels, service.spec.selector));
    const named = behind.spec.template.spec.containers[0].ports.map(({ name }) => name);
    service.spec.ports.forEach(({ targetPort }) => assert.ok(named.includes(targetPort), targetPort));
  }
  assert.deepEqual(one('NetworkPolicy').spec.podSelector.matchLabels, pod.metadata.labels);
  const backend = one('Ingress').spec.rules[0].http.paths[0].backend.service;
  assert.ok(one('Service', backend.name).spec.ports.some(({ name }) => name === backend.port.name));
  for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
    assert.equal(container[probe].httpGet.port, 'internal');
  }
  // The drain ends before the supervisor's patience does.
  const shown = await run(['config', 'show', '--config', policyOf(t, documents), '--json'], SECRETS);
  const settings = JSON.parse(shown.stdout);
  const drain = Number.parseInt(settings['drain.deadline'].value, 10);
  const grace = pod.spec.terminationGracePeriodSeconds;
  assert.ok(container.lifecycle.preStop.sleep.seconds + drain < grace, `${drain} s of drain in ${grace} s`);
});

for (const file of MANIFESTS) test(`the policy in the ConfigMap of ${file} is one that flowgate takes`, async (t) => {
  await accepts([policyOf(t, await yaml(file))]);
});

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** A folder with the files of the manifest's ConfigMap. */
function policyOf(t, documents) {
  const { data } = documents.find(({ kind }) => kind === 'ConfigMap');
  const folder = temporary(t);
  for (const [name, text] of Object.entries(data)) writeFileSync(path.join(folder, name), text);
  return folder;
}

for (const name of COMPOSED) test(`the file in ${name} is one that compose takes, with the files it mounts, and stops without secrets`, async (t) => {
  const folder = temporary(t);
  const file = path.join(folder, 'compose.yaml');
  // What compose of Debian does not know yet: the project's name.
  writeFileSync(file, read(`${name}/compose.yaml`).replace(/^name: .*\n/m, ''));
  const config = (env) =>
    tool('docker-compose', ['--project-directory', path.join(DEPLOY, name), '-f', file, 'config', '-q'], {
      env: { PATH: process.env.PATH, ...env },
    });
  const whole = await config(SECRETS);
  assert.equal(whole.code, 0, whole.stderr);
  const wanted = new Set(read(`${name}/compose.yaml`).match(/FLOWGATE_\w+(?=:\?)/g));
  for (const secret of wanted) {
    const without = await config({ ...SECRETS, [secret]: '' });
    assert.notEqual(without.code, 0);
    assert.match(without.stderr, new RegExp(secret));
  }
  assert.ok(wanted.size >= 2);

  const [{ services }] = await yaml(`${name}/compose.yaml`);
  for (const { volumes = [] } of Object.values(services)) {
    for (const [source] of volumes.map((volume) => volume.split(':'))) readOrList(path.join(DEPLOY, name, source));
  }
  await accepts([path.join(DEPLOY, name, 'flowgate')]);
});

test('the alert rules are rules, and speak when they should and only then', async (t) => {
  const rules = path.join(DEPLOY, 'prometheus');
  const checked = await tool('promtool', ['check', 'rules', path.join(rules, 'alerts.yml')]);
  assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  const tested = await tool('promtool', ['test', 'rules', path.join(rules, 'alerts.test.yml')]);
  assert.equal(tested.code, 0, tested.stdout + tested.stderr);

  // Side by side, as the containers see them.
  for (const name of COMPOSED) {
    const folder = temporary(t);
    writeFileSync(path.join(folder, 'prometheus.yml'), read(`${name}/prometheus.yml`));
    writeFileSync(path.join(folder, 'alerts.yml'), read('prometheus/alerts.yml'));
    const config = await tool('promtool', ['check', 'config', path.join(folder, 'prometheus.yml')]);
    assert.equal(config.code, 0, config.stdout + config.stderr);
  }
});

/** Every query of the dashboard, with Grafana's variables as it would fill them in. */
function queries() {
  const { panels, annotations, templating } = JSON.parse(read('grafana/flowgate.json'));
  const filled = (query) =>
    query.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*').replaceAll('$job', 'flowgate');
  const shown = panels.flatMap(({ targets = [] }) => targets).concat(annotations.list).map(({ expr }) => filled(expr));
  const asked = templating.list.filter(({ type }) => type === 'query').map(({ query }) => filled(query));
  return { shown, asked };
}

test('the dashboard has a query in every panel, and each is one', async (t) => {
  const dashboard = JSON.parse(read('grafana/flowgate.json'));
  const ids = dashboard.panels.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const { title, type, targets, gridPos } of dashboard.panels) {
    assert.ok(type === 'row' || targets.length > 0, title);
    assert.ok(gridPos.x + gridPos.w <= 24, title);
  }
  // Grafana has no check of its own; Prometheus reads its queries as the expressions of rules.
  const { shown } = queries();
  const rules = shown.map((expr, at) => ({ record: `panel:${at}`, expr }));
  const file = path.join(temporary(t), 'rules.yml');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
  const checked = await tool('promtool', ['check', 'rules', file]);
  assert.equal(checked.code, 0, checked.stdout + checked.stderr);
});

test('alerts and dashboard name only series that flowgate has', async (t) => {
  // Rules have series of their own.
  const rules = `[[rules]]\nname = "r"\non = ["*"]\nallow_if = "true"\nmode = "observe"\n[[audience]]\nname = "a"\non = ["*"]\nhear_if = "true"\n`;
  const { paths, remove } = writeConfig([ONE_ISSUER, rules]);
  t.after(remove);
  const server = await Flowgate.start(paths);
  t.after(() => server.kill());
  const series = await (await fetch(`${server.internalUrl}/metrics`)).text();
  const suffix = { counter: '_total', info: '_info' };
  const there = new Set([...series.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => name + (suffix[kind] ?? '')));
  for (const [, name] of series.matchAll(/^# TYPE (\S+) histogram$/gm)) there.add(`${name}_bucket`);
  // Of keys that are fetched, which this server has none of; and of refusals, of which there are none yet.
  for (const name of ['flowgate_keys_age_seconds', 'flowgate_event_refusals_total']) there.add(name);
  const { shown, asked } = queries();
  const texts = [read('prometheus/alerts.yml'), ...shown, ...asked];
  const named = texts.flatMap((text) => [...text.matchAll(/\b(?:flowgate|process)_[a-z_]+\b/g)].map(([name]) => name));
  assert.ok(named.length > 40);
  assert.deepEqual([...new Set(named.filter((name) => !there.has(name)))], []);
});

/** Fails where there is neither such a file nor such a folder. */
function readOrList(file) {
  try {
    readFileSync(file);
  } catch (error) {
    if (error.code !== 'EISDIR') throw error;
  }
}

test('nginx is told the same in compose as beside it, and in the README', () => {
  const location = (text) =>
    /location \/socket\.io\/ \{[^}]*\}/
      .exec(text)[0]
      .split('\n')
      .map((line) => line.replace(/#.*/, '').trim())
      .filter(Boolean);
  const shipped = location(read('nginx/flowgate.conf'));
  assert.ok(shipped.length > 8);
  assert.deepEqual(location(read('compose/nginx.conf')), shipped);
  assert.deepEqual(location(readFileSync(path.join(REPOSITORY, 'README.md'), 'utf8')), shipped);
  // In front of several nodes only what it does about a node that is gone is different.
  const ofNodes = ['proxy_next_upstream error http_503;', 'proxy_connect_timeout 2s;'];
  const shared = location(read('nginx/flowgate-nodes.conf')).filter((line) => !ofNodes.includes(line));
  assert.deepEqual(shared, shipped.filter((line) => line !== 'proxy_next_upstream off;'));
  assert.deepEqual(location(read('compose-nodes/nginx.conf')), location(read('nginx/flowgate-nodes.conf')));
});
