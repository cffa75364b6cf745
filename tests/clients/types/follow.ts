// Not run: tsc says whether what clients/js declares is what an application needs.

import { io } from 'socket.io-client';
import { follow, type Following, type Meta } from '../../../clients/js/index.js';

interface Change {
  type: string;
  taskId?: number;
}

const socket = io('http://127.0.0.1:3000', { autoConnect: false });

const following: Following = follow<Change>(socket, {
  token: async () => 'a token',
  auth: { team: 'red' },
  onChange(change, meta) {
    const id: number | undefined = change.taskId;
    const told: Meta | undefined = meta;
    const actor: string | null | undefined = meta?.actor;
    console.log(id, told, actor);
  },
  onResync() {},
  onRefused: (error) => console.error(error.message),
});
const since: string = following.since;
follow(socket, { token: 'a token', since, onChange: () => {}, onResync: () => {} }).stop();

// @ts-expect-error: a change of nobody knows what type has no fields.
follow(socket, { onChange: (change) => change.type, onResync: () => {} });
// @ts-expect-error: a client that is not to fetch stays stale.
follow(socket, { onChange: () => {} });
// @ts-expect-error: a position is read, not written.
following.since = '';
