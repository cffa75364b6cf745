// The admin API, as this page asks it: with the session's cookie, which no script can read, and for whatever changes
// something with the session's second secret in a header, which no other page can send.

/** An answer that is no success. `code` never changes, `message` is for people. */
export class Declined extends Error {
  constructor(status, { code = 'unknown', message = `the server answered ${status}`, ...more } = {}) {
    super(message);
    Object.assign(this, { status, code, more });
  }
}

let csrf;
let onSignedOut = () => {};

/** Who is to hear that the session is over. */
export const whenSignedOut = (heard) => (onSignedOut = heard);

/** The session's second secret; it lives in this page and nowhere else. */
export const remember = (secret) => (csrf = secret);

async function read(answer) {
  if (answer.status === 204) return {};
  return answer.json().catch(() => ({}));
}

/** Asks `/api` + path. Throws `Declined`, or the browser's own error where no server answers. */
export async function ask(path, { method = 'GET', body, signal } = {}) {
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (method !== 'GET' && csrf) headers['x-flowgate-csrf'] = csrf;
  const answer = await fetch(`/api${path}`, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: 'same-origin',
    signal,
  });
  const said = await read(answer);
  if (answer.ok) return said;
  if (answer.status === 401 && path !== '/session') onSignedOut();
  throw new Declined(answer.status, said);
}

/** A path with those of the parameters that say something. */
export function query(path, parameters) {
  const some = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return some.length > 0 ? `${path}?${new URLSearchParams(some)}` : path;
}
