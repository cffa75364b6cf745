import { test } from 'node:test';
import { Client } from './client.mjs';
import { GENEROUS_LIMITS, ONE_ISSUER, writeConfig } from './config.mjs';
import { Flowgate } from './flowgate.mjs';
import { mint } from './tokens.mjs';

// A fail-safe for a test that hangs; nothing here comes near it.
const TEST_TIMEOUT_MS = 180_000;

/** What a test has open; all of it is closed when the test ends, in the reverse order. */
class Stage {
  #closers = [];
  #servers = [];

  defer(close) {
    this.#closers.push(close);
  }

  /**
   * Starts flowgate. `overlay` is TOML laid over the tests' own configuration; `config` replaces that configuration by
   * the texts or, where one is an absolute path, the files given; `env` is added to the environment, and `dev` starts
   * it with --dev, over no configuration but the overlay.
   */
  async flowgate({ overlay = '', dev = false, config = dev ? [] : [ONE_ISSUER, GENEROUS_LIMITS], env } = {}) {
    const { paths, remove } = writeConfig([...config, overlay].filter((entry) => !entry.startsWith('/')));
    this.defer(remove);
    const files = config.filter((entry) => entry.startsWith('/'));
    const server = await Flowgate.start([...files, ...paths], env, dev ? ['--dev'] : []);
    this.#servers.push(server);
    this.defer(() => server.kill());
    return server;
  }

  client(url, options) {
    const client = new Client(url, options);
    this.defer(() => client.close());
    return client;
  }

  /** A client of that user and team, admitted and upgraded. */
  async member(url, sub, teams, options = {}) {
    return this.client(url, { token: mint({ sub, teams: [teams].flat() }), ...options }).ready();
  }

  async close() {
    for (const close of this.#closers.reverse()) await close();
  }

  logs() {
    return this.#servers.map((server, index) => `--- log of flowgate ${index + 1} ---\n${server.stderr.slice(-8_000)}`).join('\n');
  }
}

/** `node:test`'s test with a stage; when it fails, the logs of its servers are part of the message. */
export function scenario(name, body) {
  test(name, { timeout: TEST_TIMEOUT_MS }, async () => {
    const stage = new Stage();
    try {
      await body(stage);
    } catch (error) {
      console.error(stage.logs());
      throw error;
    } finally {
      await stage.close();
    }
  });
}
