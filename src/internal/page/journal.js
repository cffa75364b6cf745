// Who heard what. A relayed change does not say who sent it, so the page compares what arrives with what its panes sent.

import { make } from './dom.js';
import { sentence } from './codes.js';

/** Older ones leave the page. */
const MOST_ENTRIES = 40;

/** Whoever has not heard it by then will not. */
const PATIENCE = 1500;

const key = (payload) => JSON.stringify(payload) ?? 'null';

/** `a`, or `a and b`, or `a, b and c`. */
export const listed = (names) => new Intl.ListFormat('en').format(names);

export const avatar = (pane) => make('span', { class: 'avatar', 'data-hue': pane.hue, 'aria-hidden': 'true' }, pane.who.user.slice(0, 1));

/** One press of a button: one event, or a flood of them. */
class Entry {
  accepted = 0;
  refused = new Map();
  unanswered = 0;
  heard = new Map();
  keys = [];
  late = false;

  constructor(journal, sender, { label, count, says }) {
    Object.assign(this, { journal, sender, label, count, says });
    this.audience = [...journal.panes];
    this.element = make('li', { class: 'entry' });
  }

  /** An acknowledgement has come, or will not (`undefined`). */
  answered(ack) {
    if (!ack) this.unanswered += 1;
    else if (ack.ok) this.accepted += 1;
    else {
      const known = this.refused.get(ack.code);
      this.refused.set(ack.code, { ...ack, count: (known?.count ?? 0) + 1 });
    }
    if (!this.late && this.answers === this.count) setTimeout(() => this.#isLate(), PATIENCE);
    this.journal.changed(this);
  }

  get answers() {
    return this.accepted + this.unanswered + this.rejections;
  }

  get rejections() {
    return [...this.refused.values()].reduce((sum, { count }) => sum + count, 0);
  }

  #isLate() {
    this.late = true;
    this.journal.changed(this);
  }

  heardBy(pane) {
    this.heard.set(pane, (this.heard.get(pane) ?? 0) + 1);
    if (pane !== this.sender) this.journal.done('heard');
    this.journal.changed(this);
  }

  render() {
    const times = this.count > 1 ? make('span', { class: 'times' }, `×${this.count}`) : null;
    this.element.replaceChildren(
      make('p', { class: 'said' }, avatar(this.sender), make('b', {}, this.sender.who.user), ' sent ', make('code', {}, this.label), times),
      make('p', { class: 'gate' }, this.#verdict()),
      this.#audience(),
    );
    this.element.classList.toggle('passed', this.accepted > 0);
    this.element.classList.toggle('stopped', this.accepted === 0 && this.rejections > 0);
  }

  #verdict() {
    const parts = [];
    const number = (count) => (this.count > 1 ? `${count} ` : '');
    if (this.accepted > 0) parts.push(make('span', { class: 'badge good' }, `${number(this.accepted)}accepted`));
    for (const [code, { count }] of this.refused) {
      parts.push(make('span', { class: 'badge bad' }, `${number(count)}refused`), make('code', { class: 'code' }, code));
    }
    if (this.unanswered > 0) parts.push(make('span', { class: 'badge warn' }, `${number(this.unanswered)}without an answer`));
    if (parts.length === 0) parts.push(make('span', { class: 'badge' }, 'on its way'));
    return parts;
  }

  #audience() {
    if (this.accepted === 0 && this.heard.size === 0) {
      const why = this.rejections > 0 ? 'Nobody heard it. What is refused goes nowhere.' : '';
      return make('p', { class: 'nobody quiet' }, why);
    }
    const line = (pane) => {
      const times = this.heard.get(pane);
      if (times) {
        const all = this.count > 1 ? ` ${times} of them` : '';
        return make('li', { class: 'heard' }, avatar(pane), make('span', {}, make('b', {}, pane.who.user), ` heard${all || ' it'}`));
      }
      return make('li', { class: 'unheard' }, avatar(pane), make('span', {}, make('b', {}, pane.who.user), ` ${this.#why(pane)}`));
    };
    return make('ul', { class: 'audience' }, this.audience.map(line));
  }

  /** Why a pane has not heard it. */
  #why(pane) {
    const went = this.sender.who.teams;
    if (pane === this.sender && !this.journal.event.echo) return 'did not: senders do not hear themselves (sender = "exclude")';
    if (!this.journal.isOpen && !pane.who.teams.some((team) => went.includes(team))) {
      const other = pane.who.teams.length > 0 ? `is in team ${listed(pane.who.teams)}` : 'is in no team';
      return `did not: it went to team ${listed(went)}, and ${pane.who.user} ${other}`;
    }
    if (!pane.isConnected) return 'did not: it is not connected';
    return this.late ? 'did not, though it is in that team: a rule of the policy, or another team of the sender’s' : '…';
  }
}

export class Journal {
  #entries = [];
  #sent = new Map();
  #changed = new Set();

  /** `panes` is the live list; `done` is told which of the page's four steps has been made. */
  constructor({ list, empty, server, panes, done }) {
    Object.assign(this, { list, empty, event: server.event, isOpen: server.open, panes, done });
  }

  /** Something is about to be sent. */
  open(sender, what) {
    const entry = new Entry(this, sender, what);
    this.#entries.unshift(entry);
    this.list.prepend(entry.element);
    for (const old of this.#entries.splice(MOST_ENTRIES)) this.#forget(old);
    this.empty.hidden = true;
    this.changed(entry);
    return entry;
  }

  /** Notes what this entry sends, so that it is known when it arrives. */
  sends(entry, payload) {
    entry.keys.push(key(payload));
    this.#sent.set(key(payload), entry);
  }

  /** A pane has heard something: of which entry it is, if a pane of this page sent it. */
  arrived(pane, payload) {
    const entry = this.#sent.get(key(payload));
    entry?.heardBy(pane);
    return entry;
  }

  /** Shows it with the next frame, however much happens before. */
  changed(entry) {
    if (this.#changed.size === 0) requestAnimationFrame(() => this.#show());
    this.#changed.add(entry);
    for (const code of entry.refused.keys()) this.done(code === 'rate_limited' ? 'flood' : 'refused');
  }

  #show() {
    for (const entry of this.#changed) entry.render();
    this.#changed.clear();
  }

  clear() {
    for (const entry of this.#entries.splice(0)) this.#forget(entry);
    this.empty.hidden = false;
  }

  #forget(entry) {
    entry.element.remove();
    for (const sent of entry.keys) this.#sent.delete(sent);
  }
}

/** What a pane says of one press: each kind of answer once. */
export function explained(entry) {
  const parts = [];
  const many = entry.count > 1;
  if (entry.accepted > 0) {
    parts.push(
      make('div', { class: 'outcome' }, make('span', { class: 'badge good' }, many ? `${entry.accepted} accepted` : 'accepted'),
        make('p', {}, entry.journal.isOpen ? 'Relayed to everybody.' : `Relayed to team ${listed(entry.sender.who.teams)}.`)),
    );
  }
  for (const [code, { count, message, rule, field, retryAfterMs }] of entry.refused) {
    const says = [sentence(code) ?? 'A code of a later version.'];
    if (retryAfterMs !== undefined) says.push(` Again after ${retryAfterMs} ms.`);
    const detail = message && make('p', { class: 'detail quiet' }, 'The server adds: “', message, '”',
      rule && [' By ', make('code', {}, rule)], field && [', at ', make('code', {}, field)], '.');
    parts.push(
      make('div', { class: 'outcome' }, make('span', { class: 'badge bad' }, many ? `${count} refused` : 'refused'),
        make('code', { class: 'code' }, code), make('p', {}, says), detail),
    );
  }
  if (entry.unanswered > 0) {
    parts.push(make('div', { class: 'outcome' }, make('span', { class: 'badge warn' }, many ? `${entry.unanswered} without an answer` : 'no answer'),
      make('p', {}, 'The connection was closed before an answer came.')));
  }
  return parts;
}
