import type { Socket } from 'socket.io-client';

/** What flowgate says of an event, with `relay.meta = true`. */
export interface Meta {
  /** The id that the sender's acknowledgement carried; behind an `@`, where flowgate has several nodes, more that is for flowgate alone. */
  readonly id: string;
  /** Counts what the client's node relays to the team; `null` where that node has not counted it. */
  readonly seq: number | null;
  /** The team through which it is heard. */
  readonly team: string;
  /** The sender's subject; `null` where nobody was asked who they are. */
  readonly actor: string | null;
  /** When it was relayed: RFC 3339, to the millisecond. */
  readonly at: string;
}

export interface FollowOptions<Change = unknown> {
  /**
   * The token, or a function that gives a fresh one, asked before each connect. With a function a client whose token has
   * expired comes back by itself.
   */
  token?: string | (() => string | Promise<string>);
  /** What else the handshake says: `team`, `filter`. */
  auth?: Readonly<Record<string, unknown>>;
  /** The name that changes are heard by; `database-changed`. */
  event?: string;
  /** The position to go on from, such as an earlier `following.since`; without one, nothing has been heard. */
  since?: string;
  /** A change, each once and in order. `meta` is there with `relay.meta = true`. */
  onChange(change: Change, meta: Meta | undefined): void;
  /**
   * What is shown may be stale: fetch everything anew. Called after the first connect, unless there was a position to go on
   * from, and whenever what was missed cannot be replayed.
   */
  onResync(): void;
  /** The server will not let the client in, and it has given up; or `token` failed, and the next attempt asks it again. */
  onRefused?(error: Error): void;
}

export interface Following {
  /** The position: all up to here has been handed to `onChange`, or `onResync` was called for it. */
  readonly since: string;
  /** Disconnects, and hears nothing any more. */
  stop(): void;
}

/**
 * Follows what flowgate relays on this socket, across reconnects. Give it a socket that nobody else has connected yet,
 * such as `io(url, { autoConnect: false })`: it sets the socket's `auth` and connects it.
 */
export function follow<Change = unknown>(socket: Socket, options: FollowOptions<Change>): Following;
