// The policy in force: which, since when, every setting with where it came from; and taking in a new one.

import { reload } from './actions.js';
import { ask } from './api.js';
import { make } from './dom.js';
import { field, row } from './listing.js';
import { Refresher, say } from './refresh.js';
import { ago, counted, moment } from './words.js';

const COLUMNS = ['setting', 'value', 'from'];
const EVERY = 10_000;

const OUTCOMES = {
  applied: ['good', 'The new policy is in force.'],
  unchanged: ['good', 'Nothing has changed, so nothing was done.'],
  refused: ['bad', 'The configuration is not used; the policy from before stays in force.'],
};

export class Policy {
  #shown;

  constructor() {
    this.facts = make('dl', { class: 'facts card' });
    this.outcome = make('div', { role: 'status' });
    this.filter = field('policy-filter', { placeholder: 'limits, timestamp, team.toml …' });
    this.filter.addEventListener('input', () => this.#pick());
    this.body = make('tbody', {});
    this.nothing = make('p', { class: 'nothing', hidden: true });
    this.element = make('div', {},
      make('div', { class: 'row' }, make('h1', {}, 'Policy in force'), make('button', { type: 'button', class: 'main', onclick: () => reload((said) => this.#reloaded(said)) }, 'Reload …')),
      this.facts, this.outcome,
      make('form', { class: 'filters card', 'aria-label': 'Filters', onsubmit: (submitted) => submitted.preventDefault() }, make('div', {}, make('label', { for: this.filter.id }, 'Settings with these letters'), this.filter)),
      make('div', { class: 'card listing' },
        make('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': 'Settings' },
          make('table', { class: 'settings' }, make('thead', {}, make('tr', {}, COLUMNS.map((column) => make('th', { scope: 'col' }, column)))), this.body)),
        this.nothing));
    this.refresher = new Refresher(() => this.#load(), EVERY);
  }

  show() {
    this.refresher.start();
  }

  hide() {
    this.refresher.stop();
  }

  /** Another policy has come into force, by whomever. */
  tick({ edition }) {
    if (this.#shown !== undefined && edition !== this.#shown && this.element.isConnected) this.refresher.now();
  }

  async #load() {
    const { policy } = await ask('/status').catch(() => ({}));
    if (!policy) return;
    const { hash, edition, since, wantedBy } = policy;
    const fact = (name, value) => make('div', {}, make('dt', {}, name), make('dd', {}, value));
    this.facts.replaceChildren(...[
      hash && fact('hash', make('code', { class: 'hash' }, hash)),
      fact('in force since', make('time', { title: moment(since) }, `${moment(since)}, ${ago(since)} ago`)),
      fact('edition', String(edition)),
      wantedBy && fact('put there by', wantedBy),
    ].filter(Boolean));
    if (edition !== this.#shown) await this.#settings(edition);
  }

  async #settings(edition) {
    try {
      const { settings } = await ask('/policy');
      this.#shown = edition;
      this.body.replaceChildren(...Object.entries(settings).map(([key, { value, origin }]) =>
        row(COLUMNS, [make('code', {}, key), make('code', {}, JSON.stringify(value)), make('span', { class: 'quiet' }, origin)])));
      this.#pick();
    } catch (error) {
      say(this.nothing, error.message);
      this.nothing.hidden = false;
    }
  }

  #pick() {
    const text = this.filter.value.trim().toLowerCase();
    let left = 0;
    for (const line of this.body.children) {
      line.hidden = !line.textContent.toLowerCase().includes(text);
      left += Number(!line.hidden);
    }
    this.nothing.hidden = left > 0;
    say(this.nothing, 'No setting has these letters.');
  }

  #reloaded({ outcome, before, policy, changes = [], warnings = [], problems = [], sockets, closed }) {
    const [kind, said] = OUTCOMES[outcome] ?? ['warn', outcome];
    const list = (title, lines) => lines.length > 0 && [make('h3', {}, title), make('ul', {}, lines.map((line) => make('li', {}, make('code', {}, typeof line === 'string' ? line : (line.text ?? JSON.stringify(line))))))];
    const hashes = outcome === 'applied' && before && make('p', {}, 'From ', make('code', {}, before), ' to ', make('code', {}, policy), '.');
    const met = sockets !== undefined && make('p', {}, `${counted(sockets, 'socket')} judged again, ${counted(closed ?? 0, 'socket')} closed.`);
    this.outcome.replaceChildren(make('div', { class: `card outcome-of-reload ${kind}` }, make('p', {}, make('b', {}, said)), hashes, met, list('Problems', problems), list('Changes', changes), list('Warnings', warnings)));
    this.refresher.now();
  }
}
