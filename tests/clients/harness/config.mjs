import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AUDIENCE, ISSUER } from './tokens.mjs';

export const SECRET_VARIABLE = 'FLOWGATE_CLIENT_TESTS_SECRET';

// Generous limits: a test that is about a limit lays its own over these.
export const GENEROUS_LIMITS = `
[limits.connections]
per_ip = 5000
per_user = 5000
handshakes_per_ip = "10000/s"
handshakes_total = "10000/s"

[limits.events]
per_socket = { rate = "100000/s", burst = 100000 }
per_user = { rate = "100000/s", burst = 100000 }
per_address = { rate = "100000/s", burst = 100000 }
per_team = { rate = "100000/s", burst = 100000 }
disconnect_after = { refusals = 100000, per = "1m" }

[limits.slow_reader]
max_queued = "64MiB"
max_stall = "60s"
`;

/** One HS256 issuer and a few types; what most tests run under. */
export const ONE_ISSUER = `
[[auth.issuers]]
name = "tests"
issuer = "${ISSUER}"
audience = ["${AUDIENCE}"]
algorithms = ["HS256"]
secret_env = "${SECRET_VARIABLE}"

[events.database-change]
fields = { n = { kind = "integer", presence = "optional" }, title = { kind = "string", presence = "optional", max_length = 200 } }

[[events.database-change.types]]
match = "task-created"
task_id = "optional"

[[events.database-change.types]]
match = "task-updated"
task_id = "required"
`;

/** Writes each TOML text to a file of its own and returns their paths, in order, and how to remove them. */
export function writeConfig(texts) {
  const folder = mkdtempSync(path.join(tmpdir(), 'flowgate-clients-'));
  const paths = texts.map((text, index) => {
    const file = path.join(folder, `${index}.toml`);
    writeFileSync(file, text);
    return file;
  });
  return { paths, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
