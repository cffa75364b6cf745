// What has been revoked and still holds.

import { revokeAny, undo } from './actions.js';
import { ask, query } from './api.js';
import { make } from './dom.js';
import { row } from './listing.js';
import { Refresher, reconcile, say } from './refresh.js';
import { counted, moment } from './words.js';

const COLUMNS = ['what', 'revoked', 'holds until', 'reason', 'actions'];
const ROWS = 100;
const EVERY = 10_000;

/** What a revocation is about, in words. */
function about({ tokenId, subject, team, issuedBefore, issuer }) {
  const what = [tokenId && `token ${tokenId}`, subject && `subject ${subject}`, team && `team ${team}`].filter(Boolean).join(', ') || 'everybody';
  return `${what}${issuedBefore ? `, issued before ${moment(issuedBefore)}` : ''}${issuer ? `, by ${issuer}` : ''}`;
}

export class Revocations {
  #after = [undefined];

  constructor() {
    this.count = make('p', { class: 'count quiet' });
    this.warning = make('p', { class: 'notice', hidden: true });
    this.body = make('tbody', {});
    this.empty = make('p', { class: 'nothing', hidden: true }, 'Nothing is revoked.');
    this.back = make('button', { type: 'button', onclick: () => (this.#after.pop(), this.#load()) }, '← Before');
    this.on = make('button', { type: 'button', onclick: () => (this.#after.push(this.next), this.#load()) }, 'Next →');
    const again = () => this.#load();
    this.again = again;
    this.element = make('div', {},
      make('div', { class: 'row' }, make('h1', {}, 'Revocations'), make('button', { type: 'button', class: 'danger', onclick: () => revokeAny(again) }, 'Revoke …')),
      this.warning,
      make('div', { class: 'card listing' },
        make('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': 'Revocations' },
          make('table', {}, make('thead', {}, make('tr', {}, COLUMNS.map((column) => make('th', { scope: 'col' }, column)))), this.body)),
        this.empty),
      make('div', { class: 'pager' }, this.count, make('div', { class: 'actions' }, this.back, this.on)));
    this.refresher = new Refresher(again, EVERY);
  }

  show() {
    this.refresher.start();
  }

  hide() {
    this.refresher.stop();
  }

  async #load() {
    const page = await ask(query('/revocations', { limit: ROWS, after: this.#after.at(-1) })).catch(() => undefined);
    if (!page) return;
    this.next = page.next;
    reconcile(this.body, page.revocations, { key: ({ id }) => id, create: (one) => this.#row(one) });
    say(this.count, counted(page.total, 'revocation'));
    say(this.warning, page.warning ? `They are ${page.warning}.` : '');
    this.warning.hidden = !page.warning;
    this.empty.hidden = page.revocations.length > 0;
    this.back.disabled = this.#after.length === 1;
    this.on.disabled = !page.next;
  }

  #row(one) {
    const what = about(one);
    return row(COLUMNS, [
      make('div', {}, make('b', {}, what), make('div', { class: 'quiet mono small-print' }, one.id)),
      make('time', {}, moment(one.revokedAt)),
      make('time', {}, one.until ? moment(one.until) : 'for good'),
      make('span', {}, one.reason ?? ''),
      make('div', { class: 'row-actions' }, make('button', { type: 'button', class: 'small', 'aria-label': `Undo the revocation of ${what}`, onclick: () => undo({ id: one.id, what }, this.again) }, 'Undo')),
    ]);
  }
}
