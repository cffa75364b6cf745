// The nodes that share their teams, where there may be several: who is there, and whether all act by one policy.

import { make } from './dom.js';
import { row } from './listing.js';
import { reconcile, say } from './refresh.js';
import { ago, number } from './words.js';

const COLUMNS = ['node', 'version', 'policy', 'connections', 'up for', 'heard'];

const REDIS = { up: '', away: 'Redis is away: this node serves its own clients, and does not hear of the others.' };

export class Nodes {
  constructor() {
    this.trouble = make('p', { class: 'trouble', role: 'status', hidden: true });
    this.body = make('tbody', {});
    this.element = make('section', { 'aria-labelledby': 'nodes-title', hidden: true },
      make('h2', { id: 'nodes-title' }, 'Nodes'),
      this.trouble,
      make('div', { class: 'card listing' },
        make('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': 'Nodes' },
          make('table', { class: 'nodes' }, make('thead', {}, make('tr', {}, COLUMNS.map((column) => make('th', { scope: 'col' }, column)))), this.body))));
  }

  /** What `GET /api/nodes` says; a node that is alone shows nothing. */
  show({ bus, nodes, policiesAgree }) {
    this.element.hidden = bus === 'none';
    if (bus === 'none') return;
    const own = nodes[0].policy;
    const trouble = [REDIS[bus], !policiesAgree && 'Not all nodes act by the same policy: who may do what depends on where one is connected.'].filter(Boolean).join(' ');
    say(this.trouble, trouble);
    this.trouble.hidden = trouble === '';
    reconcile(this.body, nodes, {
      key: ({ run }) => run,
      create: ({ node, run, self }) => {
        const cells = Object.fromEntries(COLUMNS.slice(1).map((column) => [column, make('span', {})]));
        const name = make('span', { title: `run ${run}` }, node, self && make('span', { class: 'quiet' }, ' (this one)'));
        const element = row(COLUMNS, [name, ...Object.values(cells)]);
        element.cells_ = cells;
        return element;
      },
      update: ({ cells_: cells }, { version, policy, connections, since, heard }) => {
        say(cells.version, version);
        say(cells.policy, policy === own ? policy : `${policy} (another)`);
        cells.policy.className = policy === own ? '' : 'badge bad';
        say(cells.connections, number(connections));
        say(cells['up for'], ago(since));
        say(cells.heard, heard ? `${ago(heard)} ago` : '');
      },
    });
  }
}
