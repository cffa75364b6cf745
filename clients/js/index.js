// Follows what flowgate relays, across reconnects: docs/reconnecting.md of flowgate has the protocol.

// How long after `token_expired` a fresh token is tried, at first and at most. socket.io-client gives up by itself then.
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

/** Only flowgate's own notice is of no team: a change of that type is of one, or comes with nothing beside it where meta is off. */
const isNotice = (change, meta) => change?.type === 'resync' && (meta === undefined || meta.team === null);

/** See index.d.ts. */
export function follow(socket, options) {
  const { token, auth = {}, event = 'database-changed', onChange, onResync, onRefused } = options;
  const isFresh = typeof token === 'function';
  let position = options.since ?? '';
  let wait = FIRST_WAIT_MS;
  let timer;
  let stopped = false;

  const hear = (change, meta) => {
    // First of all: a handler that throws is not told the same again.
    if (typeof meta?.id === 'string') position = meta.id;
    if (isNotice(change, meta)) onResync?.();
    else onChange?.(change, meta);
  };

  const connected = () => {
    wait = FIRST_WAIT_MS;
  };

  const refused = (error) => {
    // Active: the transport failed, and socket.io-client comes back by itself.
    if (socket.active || stopped) return;
    if (!isFresh || error.message !== 'token_expired') return onRefused?.(error);
    timer = setTimeout(() => socket.connect(), wait);
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  };

  // Asked for at each connect, so that each brings the token and the position of that moment.
  socket.auth = (give) => {
    const ask = async () => (isFresh ? await token() : token);
    ask().then(
      (fresh) => give({ ...auth, ...(fresh === undefined ? {} : { token: fresh }), since: position }),
      // Without an answer flowgate closes the transport after some seconds, and the next attempt asks again.
      (error) => onRefused?.(error),
    );
  };
  socket.on(event, hear);
  socket.on('connect', connected);
  socket.on('connect_error', refused);
  if (socket.connected) {
    // It came in without saying where it is; this time it does.
    socket.disconnect();
  }
  socket.connect();

  return {
    get since() {
      return position;
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
      socket.off(event, hear);
      socket.off('connect', connected);
      socket.off('connect_error', refused);
      socket.disconnect();
    },
  };
}
