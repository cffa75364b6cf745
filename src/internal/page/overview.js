// One look: the numbers of now, and charts of the last minutes.

import { ask } from './api.js';
import { Chart } from './charts.js';
import { make } from './dom.js';
import { Nodes } from './nodes.js';
import { Refresher, say } from './refresh.js';
import { bytes, micros, number, percent, rate, span } from './words.js';

/** What the charts show; the server remembers an hour. */
const MINUTES = 15;

/** How often it is asked for the other nodes; milliseconds. */
const LOOK_EVERY = 5000;

/** Lines of the chart of refusals: the most frequent codes, and the rest as one. */
const MOST_CODES = 5;

const TILES = [
  ['peers', 'peers', 'admitted sockets'],
  ['sessions', 'sessions', 'connections, admitted or not'],
  ['rooms', 'teams', 'with somebody in them'],
  ['events', 'events/s', 'relayed'],
  ['deliveries', 'deliveries/s', 'copies handed to members'],
  ['refusals', 'refusals/s', 'of events, sockets and requests'],
  ['memory', 'memory', 'resident'],
  ['cpu', 'CPU', 'of one core'],
];

export class Overview {
  #samples = [];
  #every = 5;

  constructor() {
    this.values = {};
    const tile = ([key, name, note]) => make('div', { class: 'tile card' }, make('dt', {}, name), (this.values[key] = make('dd', {}, '–')), make('dd', { class: 'quiet small-print' }, note));
    this.facts = make('p', { class: 'quiet' });
    this.nodes = new Nodes();
    this.charts = {
      events: new Chart('Events', { format: rate, note: 'a second' }),
      deliveries: new Chart('Deliveries', { format: rate, note: 'a second' }),
      refusals: new Chart('Refusals by code', { format: rate, stacked: true, note: 'a second' }),
      latency: new Chart('Latency', { format: micros, note: 'arrival to relayed' }),
      memory: new Chart('Memory', { format: bytes }),
      cpu: new Chart('CPU', { format: percent, note: 'of one core', least: 0.01 }),
    };
    this.element = make('div', {},
      make('h1', { class: 'unseen' }, 'Overview'),
      this.facts,
      make('dl', { class: 'tiles' }, TILES.map(tile)),
      this.nodes.element,
      make('h2', {}, `The last ${MINUTES} minutes`),
      make('div', { class: 'charts' }, Object.values(this.charts).map(({ element }) => element)));
    // The stream brings each new sample; this fills in what came before it, and what was missed.
    this.refresher = new Refresher(() => this.#load(), 60_000);
    this.others = new Refresher(() => this.#look(), LOOK_EVERY);
  }

  show() {
    this.refresher.start();
    this.others.start();
  }

  hide() {
    this.refresher.stop();
    this.others.stop();
  }

  /** Other nodes say nothing in this one's stream. */
  async #look() {
    const nodes = await ask('/nodes').catch(() => undefined);
    if (nodes) this.nodes.show(nodes);
  }

  async #load() {
    const [status, { samples, everySeconds }] = await Promise.all([ask('/status'), ask(`/series?minutes=${MINUTES}`)]).catch(() => [undefined, {}]);
    if (!status) return;
    this.#every = everySeconds;
    this.#samples = samples;
    say(this.facts, `flowgate ${status.version}, up for ${span(status.uptimeSeconds)}. ${number(status.totals.eventsAccepted)} events relayed, ${number(status.totals.deliveries)} deliveries, ${number(status.totals.refusals)} refusals since the start.`);
    this.#numbers(status);
    this.#draw();
  }

  #numbers({ peers, sessions, rooms, residentBytes, cpuShare }) {
    say(this.values.peers, number(peers));
    say(this.values.sessions, number(sessions));
    say(this.values.rooms, number(rooms));
    say(this.values.memory, bytes(residentBytes));
    say(this.values.cpu, percent(cpuShare));
  }

  tick(tick) {
    this.#numbers(tick);
    say(this.values.events, rate(tick.eventsAccepted));
    say(this.values.deliveries, rate(tick.deliveries));
    say(this.values.refusals, rate(tick.refusals));
  }

  sample(sample) {
    if (this.#samples.at(-1)?.time === sample.time) return;
    this.#samples.push(sample);
    this.#samples.splice(0, Math.max(0, this.#samples.length - (MINUTES * 60) / this.#every));
    if (this.element.isConnected) this.#draw();
  }

  #draw() {
    const samples = this.#samples;
    const times = samples.map(({ time }) => time);
    const values = (of) => samples.map(of);
    const perSecond = (of) => values((sample) => of(sample) / this.#every);
    const { events, deliveries, refusals, latency, memory, cpu } = this.charts;
    events.show(times, [
      { name: 'relayed', hue: 2, values: perSecond((sample) => sample.eventsAccepted) },
      { name: 'refused', hue: 1, values: perSecond((sample) => sample.eventsRefused) },
    ]);
    deliveries.show(times, [{ name: 'deliveries', hue: 0, values: perSecond((sample) => sample.deliveries) }]);
    refusals.show(times, this.#codes(perSecond));
    // Of two parts, each with its own slowest: together at most this.
    const quantile = (name) => values(({ pipelineMicros, relayMicros }) => (pipelineMicros && relayMicros ? pipelineMicros[name] + relayMicros[name] : null));
    latency.show(times, [{ name: 'p50', hue: 2, values: quantile('p50') }, { name: 'p99', hue: 3, values: quantile('p99') }]);
    memory.show(times, [{ name: 'resident', hue: 4, values: values((sample) => sample.residentBytes) }]);
    cpu.show(times, [{ name: 'of one core', hue: 5, values: values((sample) => sample.cpuShare) }]);
  }

  /** The codes that were most frequent in what is shown. */
  #codes(perSecond) {
    const sums = new Map();
    for (const { refusals } of this.#samples) for (const [code, count] of Object.entries(refusals)) sums.set(code, (sums.get(code) ?? 0) + count);
    const codes = [...sums].sort(([, one], [, other]) => other - one).map(([code]) => code);
    const lines = codes.slice(0, MOST_CODES).map((code, hue) => ({ name: code, hue, values: perSecond(({ refusals }) => refusals[code] ?? 0) }));
    const rest = codes.slice(MOST_CODES);
    if (rest.length > 0) lines.push({ name: 'others', hue: 5, values: perSecond(({ refusals }) => rest.reduce((sum, code) => sum + (refusals[code] ?? 0), 0)) });
    return lines;
  }
}
