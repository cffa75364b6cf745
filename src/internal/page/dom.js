// Elements without markup: whatever a client sent becomes text and nothing else.

/**
 * Makes an element. Attributes that are functions listen for the event of their name (`onclick`); `true` sets an attribute
 * without a value, and `false`, `null` and `undefined` leave it out.
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The same for the elements of a drawing. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat().filter(Boolean));
  return element;
}

/** The one element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/** Copies a text and says so on the button for a moment. */
export async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Select it and copy by hand';
  }
  setTimeout(() => (button.textContent = before), 1600);
}

/** Six colours for teams, given out in the order in which teams are met. */
const hues = new Map();
export function hue(team) {
  if (!hues.has(team)) hues.set(team, hues.size % 6);
  return hues.get(team);
}
