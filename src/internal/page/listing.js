// A list that the server has in pages: filters above, a table, and the way on and back.

import { ask, query } from './api.js';
import { make } from './dom.js';
import { Refresher, reconcile, say, unhurried } from './refresh.js';

/** Rows of a page. */
const ROWS = 50;

/** How often the page that is shown is asked for again. */
const EVERY = 5000;

export class Listing {
  #cursors = [undefined];

  /**
   * `path` and `key` say what is asked for and where it stands in the answer; `filters` are fields, each with a `name` as the
   * API has it; `columns` are the headings; `row` makes and updates a row; `counted` says how many there are.
   */
  constructor({ title, path, key, filters, columns, id, create, update, counted, empty, actions = [] }) {
    Object.assign(this, { path, key, filters, id, create, update, counted });
    this.columns = columns;
    const changed = unhurried(() => this.reset());
    for (const { field } of filters) field.addEventListener('input', changed);
    this.count = make('p', { class: 'count quiet', 'aria-live': 'polite' });
    this.trouble = make('p', { class: 'trouble', role: 'alert', hidden: true });
    this.body = make('tbody', {});
    this.empty = make('p', { class: 'nothing', hidden: true }, empty);
    this.back = make('button', { type: 'button', onclick: () => this.#turn(-1) }, '← Before');
    this.on = make('button', { type: 'button', onclick: () => this.#turn(1) }, 'Next →');
    const labelled = ({ label, field }) => make('div', {}, make('label', { for: field.id }, label), field);
    this.element = make('div', {},
      make('div', { class: 'row' }, make('h1', {}, title), make('div', { class: 'actions' }, actions)),
      make('form', { class: 'filters card', 'aria-label': 'Filters', onsubmit: (submitted) => (submitted.preventDefault(), this.reset()) }, filters.map(labelled)),
      this.trouble,
      make('div', { class: 'card listing' },
        make('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': title },
          make('table', {}, make('thead', {}, make('tr', {}, columns.map((column) => make('th', { scope: 'col' }, column)))), this.body)),
        this.empty),
      make('div', { class: 'pager' }, this.count, make('div', { class: 'actions' }, this.back, this.on)));
    this.refresher = new Refresher(() => this.#load(), EVERY);
  }

  show() {
    this.refresher.start();
  }

  hide() {
    this.refresher.stop();
  }

  /** What is shown may be of the past. */
  again = () => this.#load();

  /** From the first page on. */
  reset() {
    this.#cursors = [undefined];
    this.count.setAttribute('aria-live', 'polite');
    return this.#load();
  }

  #turn(step) {
    if (step > 0) this.#cursors.push(this.next);
    else if (this.#cursors.length > 1) this.#cursors.pop();
    this.count.setAttribute('aria-live', 'polite');
    this.#load();
  }

  async #load() {
    const parameters = Object.fromEntries(this.filters.map(({ name, field }) => [name, field.value.trim()]));
    const asked = (this.asked = Symbol('asked'));
    try {
      const answer = await ask(query(this.path, { ...parameters, limit: ROWS, cursor: this.#cursors.at(-1) }));
      // An answer to an older question is of no use.
      if (this.asked !== asked) return;
      this.trouble.hidden = true;
      this.#fill(answer);
    } catch (error) {
      if (this.asked !== asked || error.status === 401) return;
      say(this.trouble, error.message);
      this.trouble.hidden = false;
    }
  }

  #fill(answer) {
    const items = answer[this.key];
    reconcile(this.body, items, { key: this.id, create: this.create, update: this.update });
    this.next = answer.next;
    const page = this.#cursors.length;
    say(this.count, `${this.counted(answer)}${page > 1 || this.next ? `, page ${page}` : ''}`);
    // Later, when nobody has asked for it, numbers change without a word.
    setTimeout(() => this.count.setAttribute('aria-live', 'off'), 500);
    this.empty.hidden = items.length > 0;
    this.back.disabled = page === 1;
    this.on.disabled = !this.next;
  }
}

/** A field of a filter. */
export const field = (id, attributes = {}) => make('input', { id, autocomplete: 'off', spellcheck: 'false', maxlength: 256, ...attributes });

/** A choice in a filter. */
export const choice = (id, options) => make('select', { id }, options.map(([value, text]) => make('option', { value }, text)));

/** A row: a cell for each column, whose heading it repeats where there is no room for a table. */
export const row = (columns, cells) => make('tr', {}, cells.map((cell, at) => make('td', { 'data-label': columns[at] }, cell)));
