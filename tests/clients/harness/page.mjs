import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const CLIENTS = path.resolve(import.meta.dirname, '..');
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** Builds browser/ with Vite for that server's address and returns the folder. */
export async function buildPage(stage, socketUrl) {
  const folder = await mkdtemp(path.join(tmpdir(), 'flowgate-page-'));
  stage.defer(() => rm(folder, { recursive: true, force: true }));
  const vite = path.join(CLIENTS, 'node_modules', 'vite', 'bin', 'vite.js');
  const config = path.join(CLIENTS, 'browser', 'vite.config.js');
  await promisify(execFile)(process.execPath, [vite, 'build', '--config', config, '--outDir', folder, '--emptyOutDir'], {
    env: { PATH: process.env.PATH, VITE_SOCKET_URL: socketUrl },
  });
  return folder;
}

/** A static server. What it serves is set later, for the page is built with the address of a server that must know this origin. */
export async function servePage(stage) {
  const page = { folder: undefined };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://page');
    const file = path.join(page.folder, path.normalize(pathname === '/' ? '/index.html' : pathname));
    const content = await readFile(file).catch(() => undefined);
    response.writeHead(content ? 200 : 404, { 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream' });
    response.end(content);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stage.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  page.origin = `http://127.0.0.1:${server.address().port}`;
  return page;
}

const CHROMIUMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** A headless Chromium of the system's (or of CHROMIUM) that talks to nobody but our pages. */
export async function launchBrowser(stage) {
  const executablePath = process.env.CHROMIUM ?? CHROMIUMS.find(existsSync);
  if (!executablePath) throw new Error(`there is no Chromium (${CHROMIUMS.join(', ')}): install it, or set CHROMIUM`);
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  stage.defer(() => browser.close());
  return browser;
}
