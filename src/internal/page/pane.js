// One pane: a socket.io-client of its own, as somebody.

import { sentence } from './codes.js';
import { hue, make } from './dom.js';
import { avatar, explained, listed } from './journal.js';
import { TIMES, attempts, shown, taskId, typesOf, valid } from './payload.js';

/** Arrivals that a pane shows. */
const MOST_ARRIVALS = 12;

/** An answer that has not come by then will not. */
const ANSWER_WITHIN = 6000;

/** What became of the connection, in words. The names are socket.io-client's. */
const CLOSED = {
  'io client disconnect': 'You disconnected it.',
  'io server disconnect': 'The server ended it for good: the client does not come back by itself.',
  'transport close': 'The server closed the connection. The client comes back by itself, with a fresh token.',
  'transport error': 'The connection broke. The client comes back by itself.',
  'ping timeout': 'Nothing was heard of the server. The client comes back by itself.',
};

let panes = 0;

export class Pane {
  #socket;
  #forged = false;
  #refusals = 0;
  #last;
  /** What is said of the connection's end, until it is there again: the answers that it took away come after it. */
  #ended = [];

  /** `token` gives a fresh one; `onGone` hears when the pane is taken away. */
  constructor({ who, server, journal, token, otherTeam, onTrouble, onGone }) {
    Object.assign(this, { who, server, journal, token, otherTeam, onTrouble, onGone });
    this.hue = hue(who.teams[0] ?? 'no team');
    this.id = `pane-${(panes += 1)}`;
    this.element = this.#build();
    this.#compose();
  }

  get isConnected() {
    return Boolean(this.#socket?.connected);
  }

  focus() {
    this.type.focus();
  }

  // What it looks like.

  #build() {
    const { who, id } = this;
    const teams = who.teams.length > 0 ? who.teams : ['none'];
    const badge = (team) => make('span', { class: 'badge', 'data-hue': hue(team) }, team);
    const role = who.roles.length > 0 ? `, ${listed(who.roles)}` : '';
    this.state = make('p', { class: 'state', role: 'status' }, make('span', { class: 'badge' }, 'connecting'));
    this.switch = make('button', { type: 'button', class: 'small plain', onclick: () => this.#toggle() }, 'Disconnect');
    this.forge = make('button', { type: 'button', class: 'small plain', onclick: () => this.#forge() }, 'Forge the token');
    const remove = make('button', { type: 'button', class: 'small plain', 'aria-label': `Remove the pane of ${who.user}`, onclick: () => this.#remove() }, 'Remove');
    this.answer = make('div', { class: 'answer', role: 'status' });
    this.arrivals = make('ol', { class: 'arrivals' });
    this.silence = make('p', { class: 'empty' }, this.server.open ? 'Nothing yet. What anybody sends appears here.' : `Nothing yet. What team ${listed(teams)} sends appears here.`);
    return make('article', { class: 'pane card', 'data-hue': this.hue, 'aria-labelledby': `${id}-name` },
      make('header', {},
        avatar(this),
        make('div', { class: 'who' },
          make('h3', { id: `${id}-name` }, who.user, make('span', { class: 'unseen' }, `, team ${listed(teams)}`)),
          make('p', { class: 'quiet', 'aria-hidden': 'true' }, teams.map(badge), make('span', {}, role)))),
      this.state,
      this.#composer(),
      this.#attempts(),
      this.answer,
      make('section', { class: 'hears', 'aria-label': `What ${who.user} hears` },
        make('h4', {}, `What ${who.user} hears`, make('code', { class: 'quiet' }, this.server.event.emit)),
        this.silence,
        make('div', { role: 'log', 'aria-label': `Changes that ${who.user} heard` }, this.arrivals)),
      make('footer', {}, this.switch, this.forge, remove));
  }

  #composer() {
    const { id } = this;
    const redo = () => this.#compose();
    const option = (value, text = value) => make('option', { value }, text);
    this.type = make('select', { id: `${id}-type`, onchange: redo }, typesOf(this.server.event).map((type) => option(type)));
    this.task = make('input', { id: `${id}-task`, value: '7', autocomplete: 'off', maxlength: '64', oninput: redo });
    this.time = make('select', { id: `${id}-time`, onchange: redo }, Object.entries(TIMES).map(([value, [text]]) => option(value, text)));
    this.payload = make('textarea', { id: `${id}-payload`, rows: '2', spellcheck: 'false', oninput: () => (this.written = true) });
    const labelled = (text, field, kind = '') => make('div', { class: kind }, make('label', { for: field.id }, text), field);
    this.type.value = valid(this.server).type;
    return make('form', { class: 'composer', onsubmit: (submitted) => (submitted.preventDefault(), this.#send()) },
      labelled('type', this.type), labelled('taskId', this.task), labelled('timestamp', this.time),
      labelled('payload, as it is sent', this.payload, 'wide'),
      make('button', { class: 'main wide', type: 'submit' }, 'Send ', make('code', {}, this.server.event.name)));
  }

  #attempts() {
    const button = (attempt) =>
      make('button', { type: 'button', class: `small attempt ${attempt.good ? 'good' : ''}`, 'data-attempt': attempt.name, title: attempt.says,
        onclick: () => this.#attempt(attempt.name) }, attempt.label);
    return make('fieldset', { class: 'attempts' }, make('legend', {}, 'or with one press'), attempts(this.server, this.otherTeam()).map(button));
  }

  // What it sends.

  /** The payload by the pickers. What was written by hand stays until a picker moves. */
  #compose() {
    const change = { type: this.type.value, taskId: taskId(this.task.value), timestamp: TIMES[this.time.value][1]() };
    this.payload.value = shown(change);
    this.written = false;
  }

  #send() {
    // A timestamp ages while somebody reads, so the pickers' payload is made anew.
    if (!this.written) this.#compose();
    let payload;
    try {
      payload = JSON.parse(this.payload.value);
    } catch (error) {
      this.#says(make('p', { class: 'trouble' }, `This is not JSON, so no client could send it: ${error.message}`));
      this.payload.focus();
      return;
    }
    this.#emit({ label: named(payload), count: 1, arguments: () => [payload] });
    if (!this.written) this.#compose();
  }

  #attempt(name) {
    const attempt = attempts(this.server, this.otherTeam()).find((one) => one.name === name);
    this.#emit({ ...attempt, label: attempt.good || attempt.count ? named(attempt.arguments()[0]) : attempt.label, count: attempt.count ?? 1 });
  }

  #emit(attempt) {
    if (!this.isConnected) {
      this.#says(make('p', { class: 'trouble' }, `${this.who.user} is not connected, so there is nobody to send it to. Press “Connect” below.`));
      return;
    }
    const entry = this.journal.open(this, attempt);
    this.#last = entry;
    for (let sent = 0; sent < attempt.count; sent += 1) {
      const args = attempt.arguments();
      this.journal.sends(entry, args.length > 0 ? JSON.parse(JSON.stringify(args[0])) : null);
      this.#socket.timeout(ANSWER_WITHIN).emit(this.server.event.name, ...args, (failed, ack) => this.#answered(entry, failed ? undefined : ack));
    }
  }

  #answered(entry, ack) {
    entry.answered(ack);
    if (ack && !ack.ok) this.#refusals += 1;
    // A flood is said once, when the last answer is there.
    if (entry === this.#last && entry.answers === entry.count) this.#says(...explained(entry), ...this.#ended);
  }

  #says(...parts) {
    this.answer.replaceChildren(...parts);
  }

  // What it hears.

  #hear(payload) {
    const entry = this.journal.arrived(this, payload);
    const top = this.arrivals.firstElementChild;
    this.silence.hidden = true;
    if (entry && top?.entry === entry) {
      top.heard += 1;
      top.querySelector('.times').textContent = `×${top.heard}`;
      return;
    }
    const from = entry ? [avatar(entry.sender), make('b', {}, entry.sender.who.user)] : [make('span', { class: 'quiet' }, 'from outside this page')];
    const item = make('li', { class: 'arrival' }, from,
      make('span', { class: 'what' }, named(payload)), make('span', { class: 'times' }),
      make('time', { class: 'quiet' }, new Date().toLocaleTimeString('en-GB')));
    Object.assign(item, { entry, heard: 1 });
    this.arrivals.prepend(item);
    while (this.arrivals.childElementCount > MOST_ARRIVALS) this.arrivals.lastElementChild.remove();
  }

  // How it is connected.

  connect() {
    const { url, path, event } = this.server;
    const socket = (this.#socket = window.io(url, { path, forceNew: true, auth: (give) => this.#authorize(give) }));
    socket.io.on('open', () => this.#transport(socket.io.engine));
    socket.io.on('reconnect_attempt', () => this.#shows('connecting again', 'warn'));
    socket.on('connect', () => {
      this.#refusals = 0;
      this.#ended = [];
      this.#transport(socket.io.engine);
    });
    socket.on(event.emit, (payload) => this.#hear(payload));
    socket.on('connect_error', (error) => this.#refused(error));
    socket.on('disconnect', (reason) => this.#closed(reason));
  }

  /** Called for each connection, so that each brings a fresh token, as clients should. */
  async #authorize(give) {
    try {
      const token = await this.token();
      const middle = token.length - 12;
      // One character of the signature is another.
      give({ token: this.#forged ? token.slice(0, middle) + (token[middle] === 'A' ? 'B' : 'A') + token.slice(middle + 1) : token });
    } catch (error) {
      this.onTrouble(`No token for ${this.who.user}: ${error.message}`);
    }
  }

  #transport(engine) {
    const show = () => {
      if (!this.isConnected) return;
      const step = (name) => make('span', { class: name === engine.transport.name ? 'way on' : 'way' }, name);
      const rail = make('span', { class: 'ways' }, make('span', { class: 'unseen' }, `by ${engine.transport.name}`),
        make('span', { 'aria-hidden': 'true' }, step('polling'), ' → ', step('websocket')));
      this.#shows('connected', 'good', rail);
    };
    show();
    // Engine.IO begins with polling, which passes everywhere, and changes over when a WebSocket is known to work.
    if (engine.transport.name !== 'websocket') engine.once('upgrade', show);
  }

  #shows(text, kind, ...more) {
    this.state.replaceChildren(make('span', { class: `badge ${kind}` }, make('span', { class: 'dot', 'aria-hidden': 'true' }), text), ...more);
    this.element.classList.toggle('off', !this.isConnected);
    this.switch.textContent = this.#socket?.active ? 'Disconnect' : 'Connect';
  }

  #refused(error) {
    const final = !this.#socket.active;
    this.#shows(final ? 'refused' : 'connecting again', final ? 'bad' : 'warn');
    if (!final) {
      this.#says(make('p', {}, `No connection (${error.message}). Either flowgate is not running, or it does not admit pages of ${location.origin}: see `,
        make('code', {}, 'server.allowed_origins'), '. The client tries again by itself.'));
      return;
    }
    this.#says(make('div', { class: 'outcome' }, make('span', { class: 'badge bad' }, 'connect_error'), make('code', { class: 'code' }, error.message),
      make('p', {}, sentence(error.message) ?? 'The server said no.', ' A refusal at CONNECT is final: the client does not try again by itself.')));
  }

  #closed(reason) {
    this.#shows(this.#socket.active ? 'connecting again' : 'disconnected', this.#socket.active ? 'warn' : 'bad');
    const why = this.#refusals >= 100 && reason.startsWith('transport')
      ? [`After ${this.#refusals} refusals in a short time the server closed the connection (`, make('code', {}, 'limits.events.disconnect_after'), '). The client comes back by itself.']
      : [CLOSED[reason] ?? reason];
    this.#ended = [make('div', { class: 'outcome' }, make('span', { class: 'badge warn' }, 'closed'), make('p', {}, why))];
    this.#says(...this.#ended);
  }

  #toggle() {
    if (this.#socket.active) {
      this.#socket.disconnect();
      this.#shows('disconnected', 'bad');
    } else {
      this.#forged = false;
      this.#shows('connecting', '');
      this.#socket.connect();
    }
  }

  #forge() {
    this.#forged = true;
    this.#socket.disconnect();
    this.#shows('connecting', '');
    this.#socket.connect();
  }

  #remove() {
    this.#socket.disconnect();
    this.element.remove();
    this.onGone();
  }
}

/** A change in a few words: its type and its task. */
function named(payload) {
  if (payload === null || typeof payload !== 'object') return payload === null || payload === undefined ? 'no payload' : shown(payload);
  const type = typeof payload.type === 'string' ? payload.type : 'a payload';
  return payload.taskId === undefined ? type : `${type} #${payload.taskId}`;
}
