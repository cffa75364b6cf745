// Who is connected.

import { disconnectAll, disconnectOne, revokeAll } from './actions.js';
import { hue, make } from './dom.js';
import { Listing, choice, field, row } from './listing.js';
import { say } from './refresh.js';
import { ago, ahead, moment, number } from './words.js';

const COLUMNS = ['who', 'teams', 'address', 'transport', 'connected', 'token ends', 'actions'];

const STANDING = { anonymous: 'no token', open: 'nobody is asked', connecting: 'connecting' };

/** Names as badges, and how many more there are. */
export function teams(names, more) {
  const badges = names.map((name) => make('span', { class: 'badge', 'data-hue': hue(name) }, name));
  return more ? [...badges, make('span', { class: 'quiet' }, ` and ${more} more`)] : badges;
}

export class Connections extends Listing {
  constructor() {
    const address = field('connections-address', { placeholder: '192.0.2.0/24' });
    super({
      title: 'Connections',
      path: '/connections',
      key: 'connections',
      columns: COLUMNS,
      filters: [
        { name: 'userPrefix', label: 'User begins with', field: field('connections-user') },
        { name: 'teamPrefix', label: 'Team begins with', field: field('connections-team') },
        { name: 'address', label: 'Address or network', field: address },
        { name: 'transport', label: 'Transport', field: choice('connections-transport', [['', 'any'], ['websocket', 'websocket'], ['polling', 'polling']]) },
      ],
      id: ({ id }) => id,
      create: (connection) => this.#row(connection),
      update: (element, connection) => this.#update(element, connection),
      counted: ({ matching, total }) => (matching === total ? `${number(total)} connections` : `${number(matching)} of ${number(total)} connections`),
      empty: 'Nobody is connected whom these filters let pass.',
    });
  }

  #row(connection) {
    const { id, subject, standing, address } = connection;
    const name = subject ?? STANDING[standing] ?? standing;
    const button = (text, label, onclick, kind = '') => make('button', { type: 'button', class: `small ${kind}`, 'aria-label': label, onclick }, text);
    const cells = {
      who: make('div', {}, make('b', {}, name), make('span', { class: 'quiet mono' }, ` ${id}`), make('div', { class: 'quiet small-print roles' })),
      teams: make('div', { class: 'badges' }),
      transport: make('span', {}),
      since: make('time', { title: moment(connection.since) }),
      expires: make('span', {}),
    };
    const actions = make('div', { class: 'row-actions' },
      button('Disconnect', `Disconnect ${name}, connection ${id}`, () => disconnectOne(connection, this.again)),
      subject && button('Revoke', `Revoke the tokens of ${subject}`, () => revokeAll('subject', subject, this.again), 'danger'),
      subject && button('All', `All: disconnect every connection of user ${subject}`, () => disconnectAll('user', subject, this.again), 'plain'),
      button('All here', `All here: disconnect everybody of address ${address}`, () => disconnectAll('address', address, this.again), 'plain'));
    const element = row(COLUMNS, [cells.who, cells.teams, make('code', {}, address), cells.transport, cells.since, cells.expires, actions]);
    element.cells_ = cells;
    return element;
  }

  #update(element, { teams: names, moreTeams, roles, transport, since, expires }) {
    const cells = element.cells_;
    const shown = names.join('\n') + (moreTeams ?? '');
    if (cells.teams.dataset.shown !== shown) {
      cells.teams.dataset.shown = shown;
      cells.teams.replaceChildren(...teams(names, moreTeams));
    }
    say(cells.who.lastElementChild, roles.join(', '));
    say(cells.transport, transport);
    say(cells.since, `${ago(since)} ago`);
    say(cells.expires, expires ? `in ${ahead(expires)}` : 'never');
  }
}
