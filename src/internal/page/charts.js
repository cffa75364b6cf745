// Line charts of the last minutes: drawn by hand, with a table of the same numbers for whoever does not see them.

import { clock } from './words.js';
import { draw, make } from './dom.js';

const HEIGHT = 150;
const LEFT = 54;
const BOTTOM = 20;
const TOP = 8;

/** Rows of the table: enough to follow, few enough to be read aloud. */
const MOST_ROWS = 15;

/** The next number above that reads well on an axis. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

export class Chart {
  #data = { times: [], lines: [] };

  /** `format` writes a value. `stacked` puts the lines on top of each other. `least` is the least height of the axis. */
  constructor(title, { format, stacked = false, least = 0, note = '' }) {
    Object.assign(this, { title, format, stacked, least });
    this.now = make('p', { class: 'chart-now' });
    this.legend = make('ul', { class: 'legend' });
    this.svg = draw('svg', { class: 'chart', role: 'img', height: HEIGHT });
    this.readout = make('p', { class: 'readout', 'aria-hidden': 'true', hidden: true });
    this.table = make('table', {});
    this.details = make('details', { ontoggle: () => this.#rows() },
      make('summary', {}, 'As a table'), make('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': `${title}, as a table` }, this.table));
    this.element = make('figure', { class: 'card chart-card' },
      make('figcaption', {}, make('h3', {}, title, note && make('span', { class: 'quiet' }, ` ${note}`)), this.now),
      make('div', { class: 'plot' }, this.svg, this.readout), this.legend, this.details);
    this.svg.addEventListener('pointermove', (moved) => this.#point(moved));
    this.svg.addEventListener('pointerleave', () => this.#pointed());
    new ResizeObserver(() => this.#plot()).observe(this.svg);
  }

  /** `times` are moments; each line has a name, a colour's number and a value for each of them (`null` for none). */
  show(times, lines) {
    this.#data = { times, lines };
    const latest = (line) => line.values.findLast((value) => value !== null && value !== undefined);
    this.now.textContent = lines.map((line) => (lines.length > 1 ? `${line.name} ` : '') + this.format(latest(line))).slice(0, 3).join(' · ');
    this.now.hidden = this.stacked;
    const item = ({ name, hue }) => make('li', { 'data-hue': hue }, make('span', { class: 'swatch', 'aria-hidden': 'true' }), name);
    this.legend.replaceChildren(...(lines.length > 1 ? lines.map(item) : []));
    this.#plot();
    this.#rows();
  }

  /** Heights from the bottom: a line's own, or with all below it. */
  #tops() {
    const { times, lines } = this.#data;
    const below = times.map(() => 0);
    return lines.map((line) => line.values.map((value, at) => {
      if (!this.stacked) return value;
      below[at] += value ?? 0;
      return below[at];
    }));
  }

  #plot() {
    const { times, lines } = this.#data;
    const width = this.svg.clientWidth || 320;
    const tops = this.#tops();
    const most = Math.max(this.least, ...tops.flat().filter((value) => value !== null && value !== undefined));
    const top = ceiling(most);
    const x = (at) => LEFT + (times.length < 2 ? 0 : (at / (times.length - 1)) * (width - LEFT - 6));
    const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    const grid = [0, 0.5, 1].map((share) => {
      const at = y(share * top);
      return [draw('line', { class: 'grid', x1: LEFT, x2: width, y1: at, y2: at }),
        draw('text', { class: 'tick', x: LEFT - 6, y: at + 4, 'text-anchor': 'end' }, this.format(share * top))];
    });
    const ends = times.length < 2 ? [] : [
      draw('text', { class: 'tick', x: LEFT, y: HEIGHT - 4 }, clock(times[0]).slice(0, 5)),
      draw('text', { class: 'tick', x: width - 4, y: HEIGHT - 4, 'text-anchor': 'end' }, clock(times.at(-1)).slice(0, 5)),
    ];
    const drawn = lines.map((line, number) => {
      const path = pathOf(tops[number], x, y);
      const base = this.stacked && number > 0 ? pathOf([...tops[number - 1]].reverse(), (at) => x(times.length - 1 - at), y).replace('M', 'L') : `L${x(times.length - 1)} ${y(0)}L${x(0)} ${y(0)}`;
      const solid = tops[number].every((value) => value !== null && value !== undefined);
      return draw('g', { 'data-hue': line.hue },
        (this.stacked || number === 0) && solid && path && draw('path', { class: this.stacked ? 'area stacked' : 'area', d: `${path}${base}Z` }),
        draw('path', { class: 'line', d: path }));
    });
    // The upper ones are drawn first where they are stacked, so that none covers another's line.
    this.cursor = draw('line', { class: 'cursor', y1: TOP, y2: HEIGHT - BOTTOM, visibility: 'hidden' });
    this.svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    this.svg.setAttribute('aria-label', this.#summary());
    this.svg.replaceChildren(...grid.flat(), ...ends, ...drawn, this.cursor);
    this.x = x;
  }

  /** What the picture says, in a sentence. */
  #summary() {
    const { times, lines } = this.#data;
    if (times.length === 0) return `${this.title}: nothing measured yet`;
    const said = lines.map(({ name, values }) => {
      const known = values.filter((value) => value !== null && value !== undefined);
      return known.length > 0 ? `${name} now ${this.format(known.at(-1))}, at most ${this.format(Math.max(...known))}` : `${name} nothing`;
    });
    return `${this.title}, ${clock(times[0]).slice(0, 5)} to ${clock(times.at(-1)).slice(0, 5)}: ${said.join('; ') || 'nothing'}`;
  }

  #point({ offsetX }) {
    const { times, lines } = this.#data;
    if (times.length < 2) return;
    const share = (offsetX - this.x(0)) / (this.x(times.length - 1) - this.x(0));
    const at = Math.min(times.length - 1, Math.max(0, Math.round(share * (times.length - 1))));
    this.cursor.setAttribute('x1', this.x(at));
    this.cursor.setAttribute('x2', this.x(at));
    this.cursor.setAttribute('visibility', 'visible');
    const values = lines.map((line) => `${lines.length > 1 ? `${line.name} ` : ''}${this.format(line.values[at])}`);
    this.readout.textContent = `${clock(times[at])}  ${values.join(' · ')}`;
    this.readout.hidden = false;
  }

  #pointed() {
    this.cursor?.setAttribute('visibility', 'hidden');
    this.readout.hidden = true;
  }

  #rows() {
    if (!this.details.open) return;
    const { times, lines } = this.#data;
    const step = Math.max(1, Math.ceil(times.length / MOST_ROWS));
    const some = times.map((_, at) => at).filter((at) => (times.length - 1 - at) % step === 0).reverse();
    this.table.replaceChildren(
      make('thead', {}, make('tr', {}, make('th', { scope: 'col' }, 'at'), lines.map(({ name }) => make('th', { scope: 'col' }, name)))),
      make('tbody', {}, some.map((at) => make('tr', {}, make('th', { scope: 'row' }, clock(times[at])), lines.map(({ values }) => make('td', {}, this.format(values[at])))))),
    );
  }
}

/** An SVG path through these heights; gaps stay gaps. */
function pathOf(values, x, y) {
  let path = '';
  let pen = 'M';
  values.forEach((value, at) => {
    if (value === null || value === undefined) pen = 'M';
    else {
      path += `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = 'L';
    }
  });
  return path;
}
