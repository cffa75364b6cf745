// Who was to hear what: the books of a test in which something breaks while events flow.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { mint } from './tokens.mjs';
import { until } from './wait.mjs';

const now = () => performance.now();
const RESYNC = 'resync';

/** A stock client that is a member of these teams and writes down what it hears. */
class Member {
  /** How often it has heard each event, under the event's name. */
  heard = new Map();
  /** The last number that it has heard of each sender. */
  latest = new Map();
  /** When it was last told to fetch everything, and how often. */
  resynced = -Infinity;
  resyncs = 0;
  /** Events that it heard after a later one of the same sender. */
  disordered = [];
  #since;

  constructor(stage, url, sub, teams, { comesBack = false, ...options } = {}) {
    [this.sub, this.teams] = [sub, teams];
    const token = mint({ sub, teams });
    // A client that has heard nothing yet says so, once it has been there.
    const auth = (give) => give(comesBack && this.from !== undefined ? { token, since: this.#since ?? '' } : { token });
    this.client = stage.client(url, { transports: ['websocket'], ...options, auth });
    this.client.socket.on('connect', () => (this.from ??= now()));
    this.client.socket.on('database-changed', (change, meta) => this.#hear(change, meta));
  }

  #hear({ type, n, title: sender }, meta) {
    if (meta) this.#since = meta.id;
    if (type === RESYNC) {
      this.resynced = now();
      this.resyncs += 1;
      return;
    }
    const name = `${sender} ${n}`;
    this.heard.set(name, (this.heard.get(name) ?? 0) + 1);
    if (n <= (this.latest.get(sender) ?? -1) && this.heard.get(name) === 1) this.disordered.push(name);
    this.latest.set(sender, Math.max(n, this.latest.get(sender) ?? -1));
  }
}

/**
 * Members, and what they send. An event is *accepted* when flowgate has acknowledged it. It goes to all of its sender's teams, is due to each member of
 * one of them who was admitted before it was sent, and is covered when that member has heard it, or has been told to fetch everything since it was sent: who announces a change has made it before.
 */
export class Books {
  #stage;
  #events = new Map();
  #senders = [];
  #goes = true;
  members = [];

  constructor(stage) {
    this.#stage = stage;
  }

  /** Members of a team, or of several, at each of these addresses in turn, `count` of them, all admitted. */
  async join(urls, team, count, options = {}) {
    const teams = [team].flat();
    const made = Array.from({ length: count }, (_, n) => {
      const sub = `${teams.join('+')}-${this.members.length + n}`;
      return new Member(this.#stage, urls[n % urls.length], sub, teams, options);
    });
    this.members.push(...made);
    await Promise.all(made.map(({ client }) => client.ready()));
    return made;
  }

  /** From now on this member sends an event `every` so many milliseconds, each after the answer to the one before. */
  send(member, every) {
    this.#senders.push(this.#stream(member, every));
  }

  async #stream(member, every) {
    while (this.#goes) {
      await this.announce(member);
      await pause(every);
    }
  }

  /** Sends one event, if the member is connected, and returns its name once it is accepted. */
  async announce(member) {
    if (!member.client.socket.connected) return undefined;
    member.sends = (member.sends ?? -1) + 1;
    const name = `${member.sub} ${member.sends}`;
    const event = { teams: member.teams, sent: now(), accepted: false };
    this.#events.set(name, event);
    try {
      const { ok } = await member.client.change({ type: 'task-created', n: member.sends, title: member.sub });
      event.accepted = ok;
    } catch {
      // The connection went before the answer came: it may have been relayed and may not.
    }
    return event.accepted ? name : undefined;
  }

  /** Ends the streams. */
  async stop() {
    this.#goes = false;
    await Promise.all(this.#senders);
  }

  /** Every accepted event and every member that it was due to. */
  *#dues() {
    const byTeam = groupByTeam(this.members);
    for (const [name, event] of this.#events) {
      if (!event.accepted) continue;
      for (const member of hearersOf(event.teams, byTeam)) if (member.from < event.sent) yield { name, event, member };
    }
  }

  #lost() {
    const lost = [];
    for (const { name, event, member } of this.#dues()) {
      if (!member.heard.has(name) && member.resynced < event.sent) lost.push(`${name} at ${member.sub}`);
    }
    return lost;
  }

  /**
   * Waits until everybody is connected and has heard, or fetched, whatever was accepted; then until one more event of each sender is heard by its whole team, which
   * what was sent before cannot come after.
   */
  async settle(senders) {
    await Promise.all(this.members.map(({ client }) => until('a connection', () => client.socket.connected)));
    await until('everything that was accepted to be heard or fetched', () => this.#lost().length === 0, {
      seen: () => ({ lost: this.#lost().slice(0, 20), counts: this.counts() }),
    });
    await Promise.all(senders.map((sender) => this.#reachAll(sender)));
  }

  async #reachAll(sender) {
    const team = [...hearersOf(sender.teams, groupByTeam(this.members))];
    const heard = (name) => team.every((member) => member.heard.has(name));
    const names = [];
    await until(`an event of ${sender.sub} to reach its whole team`, async () => {
      if (names.some(heard)) return true;
      const name = await this.announce(sender);
      if (name) names.push(name);
      await pause(100);
      return names.some(heard);
    });
  }

  counts() {
    const events = [...this.#events.values()];
    const times = this.members.flatMap((member) => [...member.heard.values()]);
    let due = 0;
    let delivered = 0;
    for (const { name, member } of this.#dues()) {
      due += 1;
      if (member.heard.has(name)) delivered += 1;
    }
    return {
      sent: events.length,
      accepted: events.filter(({ accepted }) => accepted).length,
      due,
      delivered,
      resynced: this.members.reduce((sum, { resyncs }) => sum + resyncs, 0),
      lost: this.#lost().length,
      doubled: times.filter((count) => count > 1).length,
      disordered: this.members.reduce((sum, { disordered }) => sum + disordered.length, 0),
    };
  }

  /** Prints one line about what happened, and holds it to what must be so whatever broke. */
  close(name, more = {}) {
    const counts = { ...this.counts(), ...more };
    console.log(`${name}: ${Object.entries(counts).map(([key, count]) => `${key} ${count}`).join(', ')}`);
    assert.ok(counts.accepted > 0 && counts.due > 0, 'nothing was sent');
    assert.equal(counts.lost, 0);
    assert.equal(counts.doubled, 0, 'events came twice');
    const disordered = this.members.flatMap((member) => member.disordered.map((event) => `${event} at ${member.sub}`));
    assert.deepEqual(disordered.slice(0, 10), [], 'events came after later ones of the same sender');
    return counts;
  }
}

function groupByTeam(members) {
  const groups = new Map();
  for (const member of members) {
    for (const team of member.teams) groups.set(team, [...(groups.get(team) ?? []), member]);
  }
  return groups;
}

const hearersOf = (teams, byTeam) => new Set(teams.flatMap((team) => byTeam.get(team) ?? []));

/** The sum over these nodes of a series, of all its labels or of those with this one (`name="value"`). */
export async function total(nodes, series, label = '') {
  const texts = await Promise.all(nodes.map(async (node) => (await fetch(`${node.internalUrl}/metrics`)).text()));
  const values = texts.flatMap((text) => [...text.matchAll(new RegExp(`^${series}(\\{[^}]*\\})? (\\S+)$`, 'gm'))]);
  return values.filter(([, labels]) => (labels ?? '').includes(label)).reduce((sum, [, , value]) => sum + Number(value), 0);
}
