// What is decided, as it happens, and why.

import { sentence } from './codes.js';
import { hue, make } from './dom.js';
import { choice, field, row } from './listing.js';
import { clock, number } from './words.js';

/** Lines that are remembered, and of those that pass the filter so many are shown. */
const MOST_KEPT = 1000;
const MOST_SHOWN = 150;

const COLUMNS = ['at', 'outcome', 'who', 'what', 'why'];

const WHICH = [
  ['', 'everything'],
  ['refused', 'refused'],
  ['observed', 'only observed'],
  ['accepted', 'accepted'],
  ['close', 'closed by flowgate'],
  ['admin', 'operators’ actions'],
];

const KIND = { refused: 'bad', observed: 'warn', accepted: 'good' };

export class Decisions {
  #kept = [];
  #waiting = [];
  #paused = false;
  #skipped = 0;

  constructor() {
    const changed = () => this.#refill();
    this.which = choice('decisions-which', WHICH);
    this.text = field('decisions-text', { placeholder: 'ann, stale_timestamp, red …' });
    this.which.addEventListener('input', changed);
    this.text.addEventListener('input', changed);
    this.pause = make('button', { type: 'button', 'aria-pressed': 'false', onclick: () => this.#toggle() }, 'Pause');
    this.body = make('tbody', {});
    this.empty = make('p', { class: 'nothing' }, 'Nothing has been decided since this page was opened that the filter lets pass. Accepted events are shown as far as decision_log.sample says.');
    this.count = make('p', { class: 'count quiet' });
    this.element = make('div', {},
      make('div', { class: 'row' }, make('h1', {}, 'Decisions'), make('div', { class: 'actions' }, this.pause, make('button', { type: 'button', onclick: () => this.#clear() }, 'Clear'))),
      make('form', { class: 'filters card', 'aria-label': 'Filters', onsubmit: (submitted) => submitted.preventDefault() },
        make('div', {}, make('label', { for: this.which.id }, 'Show'), this.which),
        make('div', {}, make('label', { for: this.text.id }, 'With these letters'), this.text)),
      make('div', { class: 'card listing' },
        make('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': 'Decisions, the latest first' },
          make('table', { class: 'decisions' }, make('thead', {}, make('tr', {}, COLUMNS.map((column) => make('th', { scope: 'col' }, column)))), this.body)),
        this.empty),
      this.count);
  }

  show() {
    this.#refill();
  }

  hide() {}

  decision(line) {
    this.#kept.unshift(line);
    this.#kept.length = Math.min(this.#kept.length, MOST_KEPT);
    if (this.#paused || !this.element.isConnected || !this.#passes(line)) return;
    // All that come within a frame are shown together.
    if (this.#waiting.push(line) === 1) requestAnimationFrame(() => this.#add());
  }

  skipped({ decisions }) {
    this.#skipped += decisions;
    this.#counts();
  }

  #passes(line) {
    const which = this.which.value;
    if (which && line.outcome !== which && line.kind !== which) return false;
    const text = this.text.value.trim().toLowerCase();
    return !text || JSON.stringify(line).toLowerCase().includes(text);
  }

  #add() {
    this.body.prepend(...this.#waiting.splice(0).reverse().map((line) => this.#row(line)));
    while (this.body.childElementCount > MOST_SHOWN) this.body.lastElementChild.remove();
    this.#counts();
  }

  #refill() {
    this.#waiting = [];
    this.body.replaceChildren(...this.#kept.filter((line) => this.#passes(line)).slice(0, MOST_SHOWN).map((line) => this.#row(line)));
    this.#counts();
  }

  #counts() {
    this.empty.hidden = this.body.childElementCount > 0;
    const skipped = this.#skipped > 0 ? ` ${number(this.#skipped)} more were decided than can be shown.` : '';
    this.count.textContent = `${number(this.body.childElementCount)} shown of ${number(this.#kept.length)} that came.${skipped}${this.#paused ? ' Paused: new ones wait.' : ''}`;
  }

  #toggle() {
    this.#paused = !this.#paused;
    this.pause.setAttribute('aria-pressed', String(this.#paused));
    this.pause.textContent = this.#paused ? 'Go on' : 'Pause';
    this.#refill();
  }

  #clear() {
    this.#kept = [];
    this.#refill();
  }

  #row(line) {
    const { kind, outcome, code, time } = line;
    const shown = kind === 'close' ? 'closed' : (outcome ?? kind);
    return row(COLUMNS, [
      make('time', { class: 'mono' }, clock(time)),
      make('div', {}, make('span', { class: `badge ${kind === 'close' ? 'warn' : (KIND[outcome] ?? '')}` }, shown), code && [' ', make('code', { class: 'reason' }, code)]),
      who(line),
      what(line),
      why(line),
    ]);
  }
}

function who({ subject, connection, address, by, teams = [], more_teams: more }) {
  return make('div', {},
    make('b', {}, subject ?? (by ? 'an operator' : 'somebody')),
    connection && make('span', { class: 'quiet mono' }, ` ${connection}`),
    make('div', { class: 'badges' }, teams.map((team) => make('span', { class: 'badge', 'data-hue': hue(team) }, team)), more && ` and ${more} more`),
    address && make('div', { class: 'quiet mono small-print' }, address));
}

function what({ kind, event, type, recipients, closed, count, transport }) {
  if (kind === 'event') {
    const heard = recipients === undefined ? null : make('div', { class: 'quiet small-print' }, `heard by ${number(recipients)}`);
    return make('div', {}, make('code', {}, type ?? event ?? 'an event'), heard);
  }
  const more = { closed: closed !== undefined && `closed ${number(closed)}`, count: count !== undefined && `${number(count)} lines`, transport };
  return make('div', {}, kind, make('div', { class: 'quiet small-print' }, Object.values(more).filter(Boolean).join(', ')));
}

function why({ kind, outcome, code, rule, why: said, stage }) {
  const meaning = said ?? (outcome === 'accepted' ? undefined : sentence(code));
  return make('div', {}, meaning, rule && make('div', { class: 'small-print' }, make('code', {}, rule)), stage && make('div', { class: 'quiet small-print' }, `stage ${stage}`));
}
