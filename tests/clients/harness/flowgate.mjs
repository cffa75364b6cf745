import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { SECRET_VARIABLE } from './config.mjs';
import { SECRET } from './tokens.mjs';
import { until } from './wait.mjs';

export const REPOSITORY = path.resolve(import.meta.dirname, '../../..');

const running = new Set();
const killAll = () => running.forEach((child) => child.kill('SIGKILL'));
process.on('exit', killAll);
// Without a handler these end the process at once, and 'exit' would never be heard.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** The program under test: FLOWGATE_BIN, or what `cargo build` made. */
export function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(REPOSITORY, 'target');
  const file = process.env.FLOWGATE_BIN ?? path.join(target, 'debug', 'flowgate');
  if (!existsSync(file)) throw new Error(`there is no ${file}: run \`cargo build\`, or set FLOWGATE_BIN`);
  return file;
}

/** Nothing of the developer's own FLOWGATE__ or VITE_ settings may leak into a test. */
function environment(extra) {
  const { PATH, HOME, RUST_LOG, RUST_BACKTRACE, LLVM_PROFILE_FILE } = process.env;
  const kept = { PATH, HOME, RUST_LOG, RUST_BACKTRACE, LLVM_PROFILE_FILE };
  const given = Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
  return { ...given, [SECRET_VARIABLE]: SECRET, ...extra };
}

/** One run of the binary: collects what it prints and knows when and how it ended. */
class Program {
  stdout = '';
  stderr = '';
  ended = undefined;

  constructor(args, env) {
    this.child = spawn(binary(), args, { env: environment(env), stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.child);
    this.child.stdout.setEncoding('utf8').on('data', (text) => (this.stdout += text));
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    this.exit = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      // 'close' comes after the last byte of both streams, 'exit' may come before it.
      this.child.once('close', (code, signal) => {
        running.delete(this.child);
        resolve((this.ended = { code, signal }));
      });
    });
  }

  /** Sends SIGTERM; the promise `exit` tells the outcome. */
  terminate() {
    this.child.kill('SIGTERM');
    return this.exit;
  }

  async kill() {
    this.child.kill('SIGKILL');
    await this.exit;
  }
}

/** A running `flowgate serve` on ports of the system's choice. */
export class Flowgate extends Program {
  static async start(configPaths, env = {}, flags = []) {
    const server = new Flowgate(
      ['serve', ...flags, ...configPaths.flatMap((file) => ['--config', file])],
      { FLOWGATE__SERVER__LISTEN: '127.0.0.1:0', FLOWGATE__INTERNAL__LISTEN: '127.0.0.1:0', ...env },
    );
    await until('flowgate to print its addresses', () => server.ended || server.#readAddresses(), {
      seen: () => ({ stdout: server.stdout, stderr: server.stderr }),
    });
    if (server.ended) {
      throw new Error(`flowgate ended at its start with ${JSON.stringify(server.ended)}:\n${server.stdout}${server.stderr}`);
    }
    return server;
  }

  #readAddresses() {
    this.url = /^listening on (http:\/\/127\.0\.0\.1:\d+)$/m.exec(this.stdout)?.[1];
    this.internalUrl = /^internal on (http:\/\/127\.0\.0\.1:\d+)$/m.exec(this.stdout)?.[1];
    return this.url && this.internalUrl;
  }
}

/** Runs one of flowgate's other commands to its end. */
export async function run(args, env = {}) {
  const program = new Program(args, env);
  const { code } = await program.exit;
  return { code, stdout: program.stdout, stderr: program.stderr };
}
