import { io } from 'socket.io-client';
import { until } from './wait.mjs';

/** The three ways in which a stock client reaches a server. */
export const WAYS = {
  'polling only': ['polling'],
  'WebSocket only': ['websocket'],
  'the upgrade': ['polling', 'websocket'],
};

/** A stock socket.io-client that writes down everything that it is told. */
export class Client {
  /** The arguments of each `database-changed`, in the order of arrival. */
  received = [];
  /** `connect`, `connect_error`, `disconnect`, `reconnect_attempt` and `upgrade`, each with what came along. */
  happenings = [];
  /** The text of every Engine.IO message, that is every Socket.IO packet, as it came. */
  packets = [];

  constructor(url, { token, ...options } = {}) {
    this.socket = io(url, {
      forceNew: true,
      autoConnect: false,
      // socket.io-client's own default, less WebTransport.
      transports: WAYS['the upgrade'],
      reconnectionDelay: 50,
      reconnectionDelayMax: 200,
      ...(token === undefined ? {} : { auth: { token } }),
      ...options,
    });
    const note = (what) => (detail) => this.happenings.push({ what, detail });
    this.socket.on('database-changed', (...args) => this.received.push(args));
    this.socket.on('connect', note('connect'));
    this.socket.on('connect_error', note('connect_error'));
    this.socket.on('disconnect', note('disconnect'));
    this.socket.io.on('reconnect_attempt', note('reconnect_attempt'));
    this.socket.io.on('open', () => {
      this.engine.on('packet', ({ type, data }) => type === 'message' && this.packets.push(data));
      this.engine.on('upgrade', note('upgrade'));
    });
    this.socket.connect();
  }

  get engine() {
    return this.socket.io.engine;
  }

  /** The details of everything of this kind that has happened. */
  all(what) {
    return this.happenings.filter((each) => each.what === what).map((each) => each.detail);
  }

  /** Waits until this has happened `times` in all, and returns the detail of that time. */
  async happened(what, times = 1) {
    const seen = () => this.happenings.map(({ what: name, detail }) => [name, detail?.message ?? detail]);
    await until(`${what}, ${times} in all`, () => this.all(what).length >= times, { seen });
    return this.all(what)[times - 1];
  }

  /** Waits until admitted and, if the transports ask for it, upgraded. */
  async ready() {
    await this.happened('connect');
    const wanted = this.socket.io.opts.transports.at(-1);
    await until(`the transport ${wanted}`, () => this.engine.transport.name === wanted);
    return this;
  }

  /** Waits for `count` changes in all and returns the first argument of each. */
  async changes(count) {
    await until(`${count} changes`, () => this.received.length >= count, {
      seen: () => ({ count: this.received.length, last: this.received.slice(-5) }),
    });
    return this.received.map(([payload]) => payload);
  }

  /** Emits and returns the acknowledgement. */
  ask(event, ...args) {
    return this.socket.timeout(20_000).emitWithAck(event, ...args);
  }

  change(...args) {
    return this.ask('database-change', ...args);
  }

  /** Sends the text as one Socket.IO packet, past socket.io-client's own encoder. */
  sendPacket(text) {
    this.engine.write(text);
  }

  close() {
    this.socket.close();
  }
}
