import { setTimeout as pause } from 'node:timers/promises';
import { inspect } from 'node:util';

// Far above what any wait here takes on a busy machine; it only ends a test that would hang.
const PATIENCE_MS = 30_000;
const LOOK_AGAIN_MS = 5;

/** Returns what `condition` gives once that is truthy. A wait that never ends says what it waited for and what it saw. */
export async function until(what, condition, { seen } = {}) {
  const giveUpAt = performance.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > giveUpAt) {
      const sight = seen ? `; saw ${inspect(seen(), { depth: 6, maxArrayLength: 20 })}` : '';
      throw new Error(`waited in vain for ${what}${sight}`);
    }
    await pause(LOOK_AGAIN_MS);
  }
}
