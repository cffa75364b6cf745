// The one dialog in front of every action: what will happen, what may be said about it, and how it went.

import { byId, make } from './dom.js';

/** Says how something went, where a screen reader hears it. */
export function tell(text, kind = 'good') {
  const line = make('p', { class: `card ${kind}` }, text, make('button', { type: 'button', class: 'small plain', onclick: () => line.remove() }, 'Dismiss'));
  byId('said').replaceChildren(line);
}

/**
 * Asks, and does it. `fields` are what can be filled in (`name`, `label`, and `value`, `hint`, `options`, `required`); `run` is
 * given their values and returns what to tell afterwards. An error is said in the dialog, which stays.
 */
export function confirm({ title, text, action, danger = true, fields = [], run }) {
  const dialog = byId('confirm');
  const inputs = fields.map(({ name, label, value = '', hint, options, required, maxlength = 256 }) => {
    const id = `confirm-${name}`;
    const input = options
      ? make('select', { id, name }, options.map(([one, shown]) => make('option', { value: one, selected: one === value }, shown)))
      : make('input', { id, name, value, maxlength, required: Boolean(required), autocomplete: 'off', spellcheck: 'false', 'aria-describedby': hint ? `${id}-hint` : null });
    return make('div', {}, make('label', { for: id }, label), input, hint && make('p', { id: `${id}-hint`, class: 'quiet small-print' }, hint));
  });
  const trouble = make('p', { class: 'trouble', role: 'alert', hidden: true });
  const cancel = make('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
  const go = make('button', { type: 'submit', class: danger ? 'danger' : 'main' }, action);
  const form = make('form', {}, make('h2', { id: 'confirm-title' }, title), make('p', { id: 'confirm-text' }, text), inputs, trouble, make('div', { class: 'actions' }, cancel, go));
  form.addEventListener('submit', async (submitted) => {
    submitted.preventDefault();
    go.disabled = true;
    trouble.hidden = true;
    try {
      const said = await run(Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()])));
      dialog.close();
      if (said) tell(said);
    } catch (error) {
      trouble.textContent = error.message;
      trouble.hidden = false;
      go.disabled = false;
    }
  });
  dialog.replaceChildren(form);
  dialog.setAttribute('aria-describedby', 'confirm-text');
  dialog.showModal();
  // What does nothing has the focus, so that a stray Enter does nothing.
  (form.querySelector('input, select') ?? cancel).focus();
}

/** A reason for the decision log. */
export const REASON = { name: 'reason', label: 'Reason, for the decision log (may be empty)', maxlength: 200 };

/** Leaves out what says nothing. */
export const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ''));
