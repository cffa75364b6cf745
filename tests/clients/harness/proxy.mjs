import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { REPOSITORY } from './flowgate.mjs';
import { until } from './wait.mjs';

/** A port that nobody had a moment ago. nginx and Caddy cannot be asked for one of the system's choice. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** The text of a shipped file with some of its words replaced, each of which must stand in it. */
function shipped(file, replacements) {
  let text = readFileSync(path.join(REPOSITORY, 'deploy', file), 'utf8');
  for (const [from, to] of replacements) {
    if (!text.includes(from)) throw new Error(`deploy/${file} does not say ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** Runs a proxy in the foreground until the stage ends, and waits for its port. */
async function serve(stage, port, command, args, env = {}) {
  const child = spawn(command, args, { env: { PATH: `${process.env.PATH}:/usr/sbin`, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
  let ended;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (code, signal) => (ended ??= `it ended with ${code ?? signal}`));
  const kill = () => child.kill('SIGKILL');
  process.on('exit', kill);
  stage.defer(async () => {
    process.off('exit', kill);
    if (ended === undefined) {
      // Caddy waits for polls that are open, as it should; a test does not.
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });
  await until(`${command} to listen on ${port}`, async () => {
    if (ended !== undefined) throw new Error(`${command}: ${ended}\n${said}`);
    const socket = net.connect(port, '127.0.0.1');
    const reached = await Promise.race([once(socket, 'connect'), once(socket, 'error')]).then(([error]) => !error, () => false);
    socket.destroy();
    return reached;
  });
  return `http://127.0.0.1:${port}`;
}

function folder(stage, name) {
  const made = mkdtempSync(path.join(tmpdir(), `flowgate-${name}-`));
  stage.defer(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** The real nginx with the shipped configuration, in front of the server at that URL. */
export function nginx(stage, target) {
  return nginxOf(stage, 'nginx/flowgate.conf', [['server 127.0.0.1:3000;', `server ${new URL(target).host};`]]);
}

/** The real nginx with the shipped configuration for several nodes, and with `changes` made to it, pairs of what stands there and what shall. */
export function nginxOfNodes(stage, targets, changes = []) {
  return nginxOf(stage, 'nginx/flowgate-nodes.conf', [...replaced(targets), ...changes]);
}

/** The two nodes that the shipped files name, and those that a test has. */
function replaced(targets) {
  const hosts = targets.map((target) => new URL(target).host);
  if (hosts.length !== 2) throw new Error('the shipped files name two nodes');
  return [
    ['127.0.0.1:3000', hosts[0]],
    ['127.0.0.1:3010', hosts[1]],
  ];
}

async function nginxOf(stage, file, replacements) {
  const [home, port] = [folder(stage, 'nginx'), await freePort()];
  const site = shipped(file, [['listen 80;', `listen 127.0.0.1:${port};`], ...replacements]);
  writeFileSync(path.join(home, 'site.conf'), site);
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${home}/${kind};`);
  const main = [
    'daemon off;',
    // One process, which is ended with its parent.
    'master_process off;',
    `pid ${home}/pid;`,
    'error_log stderr warn;',
    'events {}',
    `http { access_log off; ${places.join(' ')} include ${home}/site.conf; }`,
  ];
  writeFileSync(path.join(home, 'nginx.conf'), main.join('\n'));
  return serve(stage, port, 'nginx', ['-e', 'stderr', '-p', home, '-c', path.join(home, 'nginx.conf')]);
}

/** The real Caddy, likewise. It speaks plain HTTP here, since nobody signs a certificate for a test. */
export function caddy(stage, target) {
  return caddyOf(stage, 'caddy/Caddyfile', [['127.0.0.1:3000', new URL(target).host]]);
}

/** The real Caddy with the shipped configuration for several nodes, likewise. */
export function caddyOfNodes(stage, targets, changes = []) {
  return caddyOf(stage, 'caddy/Caddyfile.nodes', [...replaced(targets), ...changes]);
}

async function caddyOf(stage, file, replacements) {
  const [home, port] = [folder(stage, 'caddy'), await freePort()];
  const site = shipped(file, [['app.example {', `http://127.0.0.1:${port} {`], ...replacements]);
  writeFileSync(path.join(home, 'Caddyfile'), `{\n\tadmin off\n}\n${site}`);
  const args = ['run', '--adapter', 'caddyfile', '--config', path.join(home, 'Caddyfile')];
  return serve(stage, port, 'caddy', args, { HOME: home, XDG_DATA_HOME: home, XDG_CONFIG_HOME: home });
}

/** Which of these programs this machine has not got. */
export function missing(programs) {
  const places = [...(process.env.PATH ?? '').split(':'), '/usr/sbin'];
  return programs.filter((program) => !places.some((place) => existsSync(path.join(place, program))));
}

/** For a client on another address of this machine, so that it can be told from the proxy. */
export function from(localAddress) {
  return new http.Agent({ localAddress, keepAlive: true });
}
