// Who hears what, with unmodified clients: audience rules of the policy, and `auth.filter` of the client's own.

import assert from 'node:assert/strict';
import { WAYS } from './harness/client.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';

const OVERLAY = `
[[events.database-change.types]]
match = "comment-*"

[[audience]]
name = "comments are internal"
on = ["comment-*"]
hear_if = '!("client" in peer.roles)'
`;

const CREATED = { type: 'task-created', title: 'buy milk' };
const COMMENT = { type: 'comment-added', taskId: 7 };
const SEVEN = { type: 'task-updated', taskId: 7 };
const EIGHT = { type: 'task-updated', taskId: '8' };
const ALL = [CREATED, COMMENT, SEVEN, EIGHT, COMMENT, { ...EIGHT, title: 'the last' }];

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: each hears what rules and its own filter leave`, async (stage) => {
    const { url } = await stage.flowgate({ overlay: OVERLAY });
    const join = (sub, roles, filter) => {
      const auth = { token: mint({ sub, teams: ['design'], roles }), ...(filter && { filter }) };
      return stage.client(url, { auth, transports }).ready();
    };
    const stock = await join('alice', ['editor']);
    const client = await join('bob', ['client']);
    const updates = await join('carol', [], { types: ['task-updated'] });
    const eight = await join('dave', [], { types: ['task-*'], taskIds: [8] });
    const more = await join('erin', ['client'], { types: ['*'], taskIds: [7] });

    for (const change of ALL) assert.equal((await stock.change(change)).ok, true);
    const expected = [
      [stock, () => true],
      [client, ({ type }) => type !== 'comment-added'],
      [updates, ({ type }) => type === 'task-updated'],
      [eight, ({ taskId }) => taskId === undefined || taskId === '8'],
      [more, ({ type, taskId }) => type !== 'comment-added' && (taskId === undefined || taskId === 7)],
    ];
    // What each sends itself comes last, so that whatever should not have come has come before it.
    for (const [member, hears] of expected) {
      assert.equal((await stock.change(SEVEN)).ok, true);
      assert.equal((await stock.change(EIGHT)).ok, true);
      assert.equal((await member.change(COMMENT)).ok, true);
      const sent = [...ALL];
      for (let at = 0; at <= expected.findIndex(([each]) => each === member); at += 1) sent.push(SEVEN, EIGHT, COMMENT);
      const heard = sent.filter(hears);
      assert.deepEqual(await member.changes(heard.length), heard);
    }
  });

  scenario(`${way}: a filter that is not understood is final`, async (stage) => {
    const { url } = await stage.flowgate({ overlay: OVERLAY });
    const token = mint({ sub: 'mallory', teams: ['design'] });
    const client = stage.client(url, { auth: { token, filter: { type: 'task-updated' } }, transports });
    const error = await client.happened('connect_error');
    assert.equal(error.message, 'invalid_payload');
    assert.equal(client.socket.active, false);
    // The same client with a filter that says what it means.
    client.socket.auth = { token, filter: { types: ['task-updated'] } };
    client.socket.connect();
    await client.happened('connect');
    assert.equal((await client.change(SEVEN)).ok, true);
    assert.deepEqual(await client.changes(1), [SEVEN]);
  });
}
