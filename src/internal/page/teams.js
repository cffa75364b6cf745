// Teams, their members, and how much goes on in them.

import { disconnectAll, revokeAll } from './actions.js';
import { hue, make } from './dom.js';
import { Listing, choice, field, row } from './listing.js';
import { say } from './refresh.js';
import { number, rate } from './words.js';

const COLUMNS = ['team', 'members', 'events/s', 'deliveries/s', 'actions'];

export class Teams extends Listing {
  constructor() {
    super({
      title: 'Teams',
      path: '/teams',
      key: 'teams',
      columns: COLUMNS,
      filters: [
        { name: 'prefix', label: 'Begins with', field: field('teams-prefix') },
        { name: 'sort', label: 'First come', field: choice('teams-sort', [['events', 'the busiest'], ['members', 'the largest'], ['deliveries', 'the most deliveries'], ['name', 'by name']]) },
      ],
      id: ({ name }) => name,
      create: (team) => this.#row(team),
      update: ({ cells_: cells }, team) => {
        say(cells.members, team.here === team.members ? number(team.members) : `${number(team.members)} (${number(team.here)} here)`);
        say(cells.events, rate(team.eventsPerSecond));
        say(cells.deliveries, rate(team.deliveriesPerSecond));
      },
      counted: ({ matching, total, warning }) => `${matching === total ? '' : `${number(matching)} of `}${number(total)} teams${warning ? `. ${warning}` : ''}`,
      empty: 'No team has a member now that these filters let pass.',
    });
  }

  #row({ name }) {
    const cells = { members: make('span', {}), events: make('span', {}), deliveries: make('span', {}) };
    const button = (text, label, onclick, kind) => make('button', { type: 'button', class: `small ${kind}`, 'aria-label': label, onclick }, text);
    // The one room without claims, and those of users without a team, are no teams that a token could name.
    const isTeam = name !== '*' && !name.startsWith('user:');
    const actions = make('div', { class: 'row-actions' }, isTeam && [
      make('a', { href: '#connections', class: 'small-print', 'aria-label': `Who? The connections of team ${name}`, onclick: () => this.#filter(name) }, 'Who?'),
      button('Disconnect', `Disconnect team ${name}`, () => disconnectAll('team', name, this.again), ''),
      button('Revoke', `Revoke the tokens of team ${name}`, () => revokeAll('team', name, this.again), 'danger'),
    ]);
    const element = row(COLUMNS, [make('span', { class: 'badge', 'data-hue': hue(name) }, name), cells.members, cells.events, cells.deliveries, actions]);
    element.cells_ = cells;
    return element;
  }

  /** The connections of one team, once that view is there. */
  #filter(name) {
    addEventListener('hashchange', () => {
      const filter = document.getElementById('connections-team');
      filter.value = name;
      filter.dispatchEvent(new Event('input'));
    }, { once: true });
  }
}
