// What an operator can do, each behind a confirmation.

import { ask } from './api.js';
import { REASON, confirm, given } from './confirm.js';
import { counted } from './words.js';

/** What was closed, here and on other nodes, and what is to be said of it. */
const closed = ({ closed: count, nodes, warning }) => [
  `Closed ${counted(count, 'connection')}${nodes?.length > 1 ? ` on ${counted(nodes.filter((node) => node.closed !== null).length, 'node')}` : ''}.`,
  warning && `But ${warning}.`,
].filter(Boolean).join(' ');
const COMES_BACK = 'Stock clients come back by themselves, and are let in again while their token is good. Whoever is to stay away is to be revoked.';

/** One connection. */
export function disconnectOne({ id, subject }, done) {
  confirm({
    title: `Disconnect ${subject ?? id}?`,
    text: `Connection ${id} is closed. ${COMES_BACK}`,
    action: 'Disconnect',
    fields: [REASON],
    run: async (values) => {
      const answer = await ask(`/connections/${encodeURIComponent(id)}`, { method: 'DELETE', body: given(values) });
      done();
      return closed(answer);
    },
  });
}

/** All of a user, a team or an address: `what` is one of these words. */
export function disconnectAll(what, name, done) {
  confirm({
    title: `Disconnect all connections of ${what} ${name}?`,
    text: `All connections of this ${what} are closed. ${COMES_BACK}`,
    action: 'Disconnect all',
    fields: [REASON],
    run: async (values) => {
      const answer = await ask('/disconnect', { method: 'POST', body: { [what]: name, ...given(values) } });
      done();
      return closed(answer);
    },
  });
}

const FOR = { name: 'for', label: 'Shut out for (may be empty)', hint: 'Such as 90m or 30d: until then no token is honoured, also none that is yet to be issued.', maxlength: 20 };

async function revoke(body, done) {
  const answer = await ask('/revocations', { method: 'POST', body });
  done();
  return [`Revoked, and closed ${counted(answer.closed, 'connection')}.`, answer.warning && `But ${answer.warning}.`].filter(Boolean).join(' ');
}

/** The tokens of a subject or of a team: `what` is one of these words. */
export function revokeAll(what, name, done) {
  confirm({
    title: `Revoke the tokens of ${what === 'team' ? 'team ' : ''}${name}?`,
    text: `Every token of this ${what} that has been issued so far is honoured no more, and whoever is connected with one is closed. A client that brings one again is refused for good.`,
    action: 'Revoke',
    fields: [FOR, REASON],
    run: (values) => revoke({ [what]: name, ...given(values) }, done),
  });
}

const KINDS = [
  ['subject', 'those of a subject'],
  ['team', 'those that hold a team'],
  ['tokenId', 'the one with this token id (jti)'],
  ['issuedBefore', 'those issued before a moment, of everybody'],
];

/** Whatever can be revoked. */
export function revokeAny(done) {
  confirm({
    title: 'Revoke tokens',
    text: 'What is revoked is honoured no more until it would have expired, and whoever is connected with it is closed.',
    action: 'Revoke',
    fields: [
      { name: 'kind', label: 'Which tokens', options: KINDS, value: 'subject' },
      { name: 'value', label: 'Subject, team, token id, or moment', hint: 'A moment is written as 2026-03-01T12:00:00Z, or now.', required: true },
      { name: 'issuer', label: 'Only of the issuer (its name in the policy; may be empty)' },
      FOR,
      REASON,
    ],
    run: ({ kind, value, ...more }) => revoke({ [kind]: value, ...given(more) }, done),
  });
}

/** Honours again what was revoked. */
export function undo({ id, what }, done) {
  confirm({
    title: 'Undo this revocation?',
    text: `Tokens are honoured again: ${what}. Clients that were told so do not come back by themselves.`,
    action: 'Undo',
    run: async () => {
      await ask(`/revocations/${encodeURIComponent(id)}`, { method: 'DELETE' });
      done();
      return 'Undone: such tokens are honoured again.';
    },
  });
}

/** Takes in the configuration as it is now. */
export function reload(done) {
  confirm({
    title: 'Reload the configuration?',
    text: 'Files and keys are read again and checked. If they are fine the new policy is in force at once, and sockets that it would not let in are closed. If not, the old one stays and you are told why.',
    action: 'Reload',
    danger: false,
    run: async () => {
      done(await ask('/reload', { method: 'POST' }).catch((error) => {
        // A configuration that will not do is an outcome, with its problems.
        if (error.more?.problems) return { outcome: 'refused', ...error.more };
        throw error;
      }));
    },
  });
}
