// What checks that only observe would have refused, were they enforced.

import { ask } from './api.js';
import { sentence } from './codes.js';
import { make } from './dom.js';
import { Refresher } from './refresh.js';
import { counted, moment, number, percent } from './words.js';

const EVERY = 5000;

export class Observed {
  constructor() {
    this.since = make('p', { class: 'quiet' });
    this.list = make('ul', { class: 'shares' });
    this.empty = make('p', { class: 'nothing card', hidden: true },
      'Nothing would be refused that is not. Write ', make('code', {}, 'mode = "observe"'), ' at a rule or a limit, or ', make('code', {}, 'validation = "observe"'),
      ' at an event: what it would have refused passes, and is counted here.');
    this.element = make('div', {}, make('h1', {}, 'Observed, not enforced'), this.since, this.list, this.empty);
    this.refresher = new Refresher(() => this.#load(), EVERY);
  }

  show() {
    this.refresher.start();
  }

  hide() {
    this.refresher.stop();
  }

  async #load() {
    const report = await ask('/observed').catch(() => undefined);
    if (!report) return;
    this.since.textContent = `What checks in observe mode would have done since ${moment(report.since)}, were they enforced.`;
    const lines = [...report.events.map(event), ...report.rules.map(rule), ...report.audience.map(audience), ...others(report)];
    this.list.replaceChildren(...lines);
    this.empty.hidden = lines.length > 0;
  }
}

function line(said, share, detail) {
  const bar = share === undefined ? null : make('meter', { min: 0, max: 1, value: share, 'aria-hidden': 'true' });
  return make('li', { class: 'card' }, make('p', { class: 'share' }, said), bar, make('p', { class: 'quiet small-print' }, detail));
}

const event = ({ event: name, type, code, events, of, share }) =>
  line(['Would refuse ', make('b', {}, percent(share)), ' of ', make('code', {}, type || name), ': ', make('code', { class: 'reason' }, code)], share,
    `${number(events)} of ${counted(of, 'event')}. ${sentence(code) ?? ''}`);

const rule = ({ rule: name, events, errors, of, share }) =>
  line(['Rule ', make('b', {}, name), ' would refuse ', make('b', {}, percent(share)), ' of what it judges'], share,
    `${number(events)} of ${counted(of, 'event')}${errors > 0 ? `; it had no answer for ${number(errors)}` : ''}.`);

const audience = ({ rule: name, peers, deliveries }) =>
  line(['Audience rule ', make('b', {}, name), ' would withhold ', make('b', {}, counted(deliveries, 'delivery', 'deliveries'))], undefined, `From ${counted(peers, 'peer')}.`);

function others({ closes, withoutToken }) {
  return [
    closes > 0 && line(['Would close ', make('b', {}, counted(closes, 'connection')), ' for too many refusals'], undefined, 'limits.events.disconnect_after'),
    withoutToken > 0 && line(['Would turn away ', make('b', {}, counted(withoutToken, 'socket')), ' that came without a token'], undefined, 'auth.mode = "required" instead of "optional"'),
  ].filter(Boolean);
}
