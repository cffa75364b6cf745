// What is sent: changes as they should be, and changes as they should not.

let last = 0;

/** The present, and never the same twice: so a page can tell which of its changes has arrived. */
export function now() {
  last = Math.max(Date.now(), last + 1);
  return last;
}

const HOUR = 3_600_000;

/** What the timestamp's picker offers. */
export const TIMES = {
  now: ['now', () => now()],
  none: ['left out', () => undefined],
  stale: ['an hour ago', () => now() - HOUR],
  future: ['in an hour', () => now() + HOUR],
};

/** A task id as PhotoFlow has them: a number where it looks like one, text otherwise, nothing where nothing is written. */
export function taskId(text) {
  const trimmed = text.trim();
  if (trimmed === '') return undefined;
  return /^-?\d{1,15}$/.test(trimmed) ? Number(trimmed) : trimmed;
}

/** The types that can be picked. A pattern such as `comment-*` stands for one of its own. */
export function typesOf(event) {
  const declared = event.types.map(({ match }) => match.replaceAll('*', 'x'));
  return declared.length > 0 ? declared : ['task-updated'];
}

/** A change that the policy accepts: PhotoFlow's most usual one, or else of a type that may carry a task id. */
export function valid(server) {
  const types = server.event.types;
  const usual = types.find((one) => one.match === 'task-updated');
  const type = usual ?? types.find((one) => one.taskId === 'required') ?? types.find((one) => one.taskId === 'optional') ?? types[0];
  const change = { type: (type?.match ?? 'task-updated').replaceAll('*', 'x') };
  if (type?.taskId !== 'forbidden') change.taskId = 7;
  return { ...change, timestamp: now() };
}

/**
 * What one press of a button sends. `arguments` gives the event's arguments for each of `count` events.
 * `says` tells what is wrong with it before it is sent.
 */
export function attempts(server, otherTeam) {
  return [
    { name: 'valid', label: 'valid change', says: 'As the policy wants it.', good: true, arguments: () => [valid(server)] },
    {
      name: 'unknown-type',
      label: 'unknown type',
      says: 'A type that the policy does not list.',
      arguments: () => [{ ...valid(server), type: 'task-exploded' }],
    },
    {
      name: 'missing-field',
      label: 'missing field',
      says: 'A change to a task, without the task’s id.',
      arguments: () => [{ ...valid(server), taskId: undefined }],
    },
    {
      name: 'stale-timestamp',
      label: 'stale timestamp',
      says: 'Dated an hour ago, as a replay would be.',
      arguments: () => [{ ...valid(server), timestamp: now() - HOUR }],
    },
    {
      name: 'too-large',
      label: 'too large',
      says: `A payload of more than ${server.maxBytes.toLocaleString('en')} bytes.`,
      arguments: () => [{ ...valid(server), note: 'x'.repeat(server.maxBytes) }],
    },
    {
      name: 'other-team',
      label: 'other team',
      says: `Asks for team ${otherTeam}, which it is not in. Rooms follow from the token, never from what an event says.`,
      arguments: () => [{ ...valid(server), [server.event.teamField ?? 'team']: otherTeam }],
    },
    {
      name: 'no-payload',
      label: 'no payload',
      says: 'The event’s name and nothing else.',
      arguments: () => [],
    },
    {
      name: 'flood',
      label: 'flood of 100',
      says: `A hundred valid changes at once. ${server.burst} may come in one go.`,
      count: 100,
      arguments: () => [valid(server)],
    },
  ];
}

/** JSON as it is sent, on as many lines as it has members. */
export const shown = (payload) => JSON.stringify(payload, null, 1)?.replaceAll(/\n\s*/g, ' ') ?? '';
