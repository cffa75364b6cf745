// The playground: clients side by side, and who heard what of them.

import { CODES } from './codes.js';
import { byId, copy, hue, make } from './dom.js';
import { Journal } from './journal.js';
import { Pane } from './pane.js';
import { valid } from './payload.js';

/** Who is there when the page opens: two of one team, and one of another. */
const FIRST = [
  { user: 'ann', teams: ['design'], roles: ['editor'] },
  { user: 'ben', teams: ['design'], roles: ['editor'] },
  { user: 'cleo', teams: ['ops'], roles: ['editor'] },
];

/** More would be lost on any screen, and each holds a connection. */
const MOST_PANES = 12;

const panes = [];

/** Asks flowgate for a token; it signs with the key of this run. */
async function token(who) {
  const answer = await fetch('/playground/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(who),
  });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message);
  return body.token;
}

const trouble = (text) => {
  byId('trouble').textContent = text;
  byId('trouble').hidden = false;
};

const done = (step) => byId(`step-${step}`).classList.add('done');

function addPane(server, journal, who) {
  const pane = new Pane({
    who,
    server,
    journal,
    token: () => token(who),
    otherTeam: () => panes.flatMap(({ who: other }) => other.teams).find((team) => !who.teams.includes(team)) ?? 'ops',
    onTrouble: trouble,
    onGone: () => {
      panes.splice(panes.indexOf(pane), 1);
      byId('add').disabled = false;
      offerUsers(server);
      byId('add').focus();
    },
  });
  panes.push(pane);
  byId('panes').append(pane.element);
  byId('add').disabled = panes.length >= MOST_PANES;
  offerUsers(server);
  pane.connect();
  return pane;
}

/** Each user of a pane can be the one of the client that is shown. */
function offerUsers(server) {
  const select = byId('own-user');
  const before = select.value;
  select.replaceChildren(...panes.map(({ who }, at) => make('option', { value: at }, who.user)));
  if (before !== '' && panes[before]) select.value = before;
  showClient(server);
}

/** The client to copy: this server's address, and a token that works. */
async function showClient(server) {
  const who = panes[byId('own-user').value]?.who;
  if (!who) return;
  const signed = await token(who).catch((error) => `no token: ${error.message}`);
  const { url, path, event } = server;
  const { type, taskId } = valid(server);
  const change = taskId === undefined ? `type: "${type}"` : `type: "${type}", taskId: ${taskId}`;
  byId('snippet').textContent = `import { io } from "socket.io-client";
const socket = io("${url}", {
  path: "${path}",
  auth: { token: "${signed}" },
});
socket.on("connect", async () => {
  console.log("answer", await socket.emitWithAck("${event.name}", { ${change}, timestamp: Date.now() }));
});
socket.on("${event.emit}", (change) => console.log("changed", change));
socket.on("connect_error", (error) => console.log("refused", error.message));
`;
  byId('snippet').dataset.token = signed;
}

function listCodes() {
  const row = ([code, [where, sentence]]) =>
    make('tr', {}, make('td', {}, make('code', {}, code)), make('td', { class: 'quiet' }, where), make('td', {}, sentence));
  byId('code-rows').replaceChildren(...Object.entries(CODES).map(row));
}

const names = (text) => text.split(',').map((name) => name.trim()).filter(Boolean);

function offerPanes(server, journal) {
  const dialog = byId('add-dialog');
  byId('add').addEventListener('click', () => {
    const known = new Set(panes.flatMap(({ who }) => who.teams));
    byId('known-teams').replaceChildren(...[...known].map((team) => make('option', { value: team })));
    byId('add-form').reset();
    byId('add-trouble').hidden = true;
    byId('add-teams').value = 'ops';
    byId('add-roles').value = 'editor';
    dialog.showModal();
    byId('add-user').focus();
  });
  byId('add-cancel').addEventListener('click', () => dialog.close());
  byId('add-form').addEventListener('submit', async (submitted) => {
    submitted.preventDefault();
    const who = { user: byId('add-user').value.trim(), teams: names(byId('add-teams').value), roles: names(byId('add-roles').value) };
    try {
      // Asked before the pane is made, so that what is wrong is said where it can be mended.
      await token(who);
    } catch (error) {
      byId('add-trouble').textContent = error.message;
      byId('add-trouble').hidden = false;
      return;
    }
    dialog.close();
    const pane = addPane(server, journal, who);
    done('pane');
    pane.element.scrollIntoView({ block: 'nearest' });
    pane.focus();
  });
}

async function start() {
  listCodes();
  const server = await (await fetch('/playground/server')).json();
  if (!server.event) return trouble('This server’s policy names no event at all, so there is nothing to send.');
  byId('address').textContent = server.url;
  byId('open').hidden = !server.open;
  const journal = new Journal({ list: byId('journal'), empty: byId('journal-empty'), server, panes, done });
  byId('clear').addEventListener('click', () => journal.clear());
  byId('own-user').addEventListener('change', () => showClient(server));
  byId('copy-client').addEventListener('click', ({ target }) => copy(byId('snippet').textContent, target));
  byId('copy-token').addEventListener('click', ({ target }) => copy(byId('snippet').dataset.token, target));
  FIRST.flatMap(({ teams }) => teams).forEach(hue);
  for (const who of FIRST) addPane(server, journal, who);
  offerPanes(server, journal);
}

start().catch((error) => trouble(`This page could not ask its server: ${error.message}. Is flowgate still running?`));
